# SPDX-License-Identifier: Apache-2.0
#
# The package attn-sdk: headers, attn_add_plugin() and what find_package() reads, as component `sdk` of an
# install, and usable straight from the build tree with -Dattn-sdk_DIR=<build>/sdk.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(_sdk_cmake ${CMAKE_INSTALL_LIBDIR}/cmake/attn-sdk)
set(ATTN_SDK_INCLUDE_DIR ${CMAKE_INSTALL_INCLUDEDIR})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/attn-sdk-config.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/install/attn-sdk-config.cmake
  INSTALL_DESTINATION ${_sdk_cmake} PATH_VARS ATTN_SDK_INCLUDE_DIR
  NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/attn-sdk-config-version.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMajorVersion)

install(DIRECTORY ${CMAKE_CURRENT_LIST_DIR}/../include/attn DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  COMPONENT sdk FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/install/attn-sdk-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/attn-sdk-config-version.cmake
  ${CMAKE_CURRENT_LIST_DIR}/attn_add_plugin.cmake
  ${CMAKE_CURRENT_LIST_DIR}/attn_build_note.cmake
  DESTINATION ${_sdk_cmake} COMPONENT sdk)

# The same from the build tree.
set(ATTN_SDK_INCLUDE_DIR ${CMAKE_CURRENT_LIST_DIR}/../include)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/attn-sdk-config.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/attn-sdk-config.cmake
  INSTALL_DESTINATION ${CMAKE_CURRENT_BINARY_DIR} INSTALL_PREFIX ${CMAKE_CURRENT_BINARY_DIR}
  PATH_VARS ATTN_SDK_INCLUDE_DIR NO_CHECK_REQUIRED_COMPONENTS_MACRO)
foreach(file attn_add_plugin attn_build_note)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/${file}.cmake ${CMAKE_CURRENT_BINARY_DIR}/${file}.cmake COPYONLY)
endforeach()
