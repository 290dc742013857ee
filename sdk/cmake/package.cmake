# SPDX-License-Identifier: Apache-2.0
#
# The package attn-sdk, as component `sdk` of an install: headers, attn_add_plugin(), what find_package() and pkg-config
# read, the templates of `attn new`. Nothing in it depends on the processor. Usable straight from the build tree with
# -Dattn-sdk_DIR=<build>/sdk.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

# attn_install_pkgconfig(<file>.pc.in <directory> <component>): what pkg-config reads, filled in. The installed file
# finds everything from where it lies.
function(attn_install_pkgconfig template directory component)
  file(RELATIVE_PATH to_prefix /prefix/${directory} /prefix)
  string(REGEX REPLACE "/$" "" to_prefix "${to_prefix}")
  get_filename_component(name ${template} NAME_WLE)
  configure_file(${template} ${CMAKE_CURRENT_BINARY_DIR}/${name} @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${name} DESTINATION ${directory} COMPONENT ${component})
endfunction()

set(_sdk_cmake ${CMAKE_INSTALL_DATADIR}/cmake/attn-sdk)
set(ATTN_SDK_INCLUDE_DIR ${CMAKE_INSTALL_INCLUDEDIR})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/attn-sdk-config.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/install/attn-sdk-config.cmake
  INSTALL_DESTINATION ${_sdk_cmake} PATH_VARS ATTN_SDK_INCLUDE_DIR
  NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/attn-sdk-config-version.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMajorVersion ARCH_INDEPENDENT)

install(DIRECTORY ${CMAKE_CURRENT_LIST_DIR}/../include/attn DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  COMPONENT sdk FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/install/attn-sdk-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/attn-sdk-config-version.cmake
  ${CMAKE_CURRENT_LIST_DIR}/attn_add_plugin.cmake
  ${CMAKE_CURRENT_LIST_DIR}/attn_build_note.cmake
  DESTINATION ${_sdk_cmake} COMPONENT sdk)
attn_install_pkgconfig(${CMAKE_CURRENT_LIST_DIR}/attn-sdk.pc.in ${CMAKE_INSTALL_DATADIR}/pkgconfig sdk)
file(GLOB _templates CONFIGURE_DEPENDS LIST_DIRECTORIES true ${CMAKE_CURRENT_LIST_DIR}/../template*)
install(DIRECTORY ${_templates} DESTINATION ${CMAKE_INSTALL_DATADIR}/attn/templates COMPONENT sdk
  USE_SOURCE_PERMISSIONS)
install(FILES ${CMAKE_CURRENT_LIST_DIR}/../README.md DESTINATION ${CMAKE_INSTALL_DOCDIR}-sdk COMPONENT sdk)

# The same from the build tree.
set(ATTN_SDK_INCLUDE_DIR ${CMAKE_CURRENT_LIST_DIR}/../include)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/attn-sdk-config.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/attn-sdk-config.cmake
  INSTALL_DESTINATION ${CMAKE_CURRENT_BINARY_DIR} INSTALL_PREFIX ${CMAKE_CURRENT_BINARY_DIR}
  PATH_VARS ATTN_SDK_INCLUDE_DIR NO_CHECK_REQUIRED_COMPONENTS_MACRO)
foreach(file attn_add_plugin attn_build_note)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/${file}.cmake ${CMAKE_CURRENT_BINARY_DIR}/${file}.cmake COPYONLY)
endforeach()
