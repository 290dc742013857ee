# SPDX-License-Identifier: Apache-2.0
#
# Where everything goes. Components: runtime (program, library, plugins, probe helper, documents), development
# (headers and the package attn), sdk (the package attn-sdk, for plugin authors; needs neither of the
# others). The licence goes with each. package.cmake makes Debian packages of them.
include(CMakePackageConfigHelpers)

install(TARGETS attn EXPORT attn
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT development)
if(TARGET attn_program)
  install(TARGETS attn_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT runtime)
endif()
# No file of two packages: that of the SDK has its documents beside those of attn.
foreach(component runtime development sdk)
  set(documents ${CMAKE_INSTALL_DOCDIR})
  if(component STREQUAL sdk)
    string(APPEND documents -sdk)
  endif()
  install(FILES ${CMAKE_CURRENT_SOURCE_DIR}/docs/LICENSE DESTINATION ${documents} COMPONENT ${component})
endforeach()
install(DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR}
  COMPONENT runtime FILES_MATCHING PATTERN "*.md")

# Public headers include a few of the engine's by paths that are relative to themselves, so those lie
# below include/attn/ with the same paths.
install(DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/include/attn DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  COMPONENT development FILES_MATCHING PATTERN "*.hpp")
set(engine_headers
  engine/plan.hpp
  error/error.hpp
  schema/json.hpp
  tensor/array.hpp tensor/dtype.hpp
  threads/executor.hpp
  weights/npy.hpp weights/safetensors.hpp weights/safetensors_header.hpp)
foreach(header IN LISTS engine_headers)
  get_filename_component(folder ${header} DIRECTORY)
  install(FILES ${PROJECT_SOURCE_DIR}/core/${header}
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/attn/core/${folder} COMPONENT development)
endforeach()

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/attn)
install(EXPORT attn NAMESPACE attn:: FILE attn-targets.cmake
  DESTINATION ${package} COMPONENT development)
configure_package_config_file(${CMAKE_CURRENT_SOURCE_DIR}/attn-config.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/attn-config.cmake INSTALL_DESTINATION ${package}
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/attn-config-version.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMajorVersion)
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/attn-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/attn-config-version.cmake
  DESTINATION ${package} COMPONENT development)
attn_install_pkgconfig(${CMAKE_CURRENT_SOURCE_DIR}/attn.pc.in ${CMAKE_INSTALL_LIBDIR}/pkgconfig development)
