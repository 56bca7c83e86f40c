# One static library per top-level folder, one test program per test source.

# lockstep_library(mem SOURCES a.c b.c [DEPENDS lockstep_x ...])  ->  target lockstep_mem
function(lockstep_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(lockstep_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(lockstep_${name} PUBLIC lockstep_flags ${ARG_DEPENDS})
endfunction()

# lockstep_time_limit(120 name...): seconds that these tests of this folder may take in an optimised
# build without sanitizers, and what they find in their environment (libcheck's 4 seconds a case are
# short on a busy host).
function(lockstep_time_limit seconds)
  math(EXPR limit "${seconds} * ${LOCKSTEP_SLOWNESS}")
  set_tests_properties(${ARGN} PROPERTIES TIMEOUT ${limit} ENVIRONMENT
    "TEST_SLOWNESS=${LOCKSTEP_SLOWNESS};CK_DEFAULT_TIMEOUT=30;CK_TIMEOUT_MULTIPLIER=${LOCKSTEP_SLOWNESS};UBSAN_OPTIONS=print_stacktrace=1;TSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/tsan.supp")
endfunction()

# lockstep_test(mem/ram_test.c DEPENDS lockstep_mem [LABELS unit])  ->  test "mem/ram"
# Builds tests/mem/ram_test.c against libcheck and registers it with ctest.
function(lockstep_test source)
  cmake_parse_arguments(ARG "" "TIMEOUT" "DEPENDS;LABELS" ${ARGN})
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  string(REGEX REPLACE "_test\\.c$" "" name ${source})
  string(REPLACE "/" "_" target "test_${name}")
  add_executable(${target} ${CMAKE_SOURCE_DIR}/tests/${source})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${target} PRIVATE ${ARG_DEPENDS} lockstep_flags PkgConfig::CHECK)
  add_test(NAME ${name} COMMAND ${target})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}")
  lockstep_time_limit(${ARG_TIMEOUT} ${name})
endfunction()
