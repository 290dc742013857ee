# SPDX-License-Identifier: Apache-2.0
#
# cpack -G DEB: the Debian packages `attn` (program, library, plugins, probe helper, documents, and what programs are
# built with), `attn-sdk` (all that plugins are built with; of no architecture) and, where the Python package is built
# (ATTN_BUILD_PYTHON), `python3-attn`. Needs dpkg-dev, which finds the libraries that files are linked with.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME attn)
set(CPACK_PACKAGE_VENDOR attn)
# Whoever gives packages to others puts name and address here: cpack -D CPACK_PACKAGE_CONTACT="NAME <ADDRESS>".
set(CPACK_PACKAGE_CONTACT "attn maintainers")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "attention layers for the CPU")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)

set(CPACK_COMPONENTS_ALL runtime development sdk)
if(TARGET attn_python)
  list(APPEND CPACK_COMPONENTS_ALL python3)
endif()
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)
set(CPACK_COMPONENT_RUNTIME_GROUP attn)
set(CPACK_COMPONENT_DEVELOPMENT_GROUP attn)
set(CPACK_COMPONENT_SDK_GROUP attn-sdk)
set(CPACK_COMPONENT_PYTHON3_GROUP python3-attn)
set(CPACK_DEB_COMPONENT_INSTALL ON)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_ATTN_PACKAGE_NAME attn)
set(CPACK_DEBIAN_ATTN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_ATTN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_ATTN_PACKAGE_DEPENDS "attn-sdk (= ${PROJECT_VERSION})")
# The summary stands in front of each of these.
set(CPACK_DEBIAN_ATTN_DESCRIPTION "The program attn, the library, the attention types that come with it (each a
shared library of its own), and what C++ programs are built with: headers,
find_package(attn), pkg-config attn.")
set(CPACK_DEBIAN_ATTN-SDK_PACKAGE_NAME attn-sdk)
set(CPACK_DEBIAN_ATTN-SDK_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_ATTN-SDK_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_ATTN-SDK_PACKAGE_RECOMMENDS "g++ | clang, cmake, make, pkgconf")
set(CPACK_DEBIAN_ATTN-SDK_PACKAGE_SUGGESTS "attn, libxtensor-dev")
set(CPACK_DEBIAN_ATTN-SDK_DESCRIPTION "For authors of plugins: headers in C and C++ without
dependencies, attn_add_plugin() for CMake, a file for pkg-config, and the
projects that `attn new` begins with.")
set(CPACK_DEBIAN_PYTHON3-ATTN_PACKAGE_NAME python3-attn)
set(CPACK_DEBIAN_PYTHON3-ATTN_PACKAGE_SECTION python)
set(CPACK_DEBIAN_PYTHON3-ATTN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_LIBRARY_OUTPUT_DIRECTORY})
get_property(depends GLOBAL PROPERTY ATTN_PYTHON_DEPENDS)
set(CPACK_DEBIAN_PYTHON3-ATTN_PACKAGE_DEPENDS "attn (= ${PROJECT_VERSION}), ${depends}")
set(CPACK_DEBIAN_PYTHON3-ATTN_DESCRIPTION "The Python package attn: layers that take and give
arrays, with gradients and states.")
include(CPack)
