# Language level, warnings and sanitizers: every target links to lockstep_flags.

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

option(LOCKSTEP_TESTS "Build the tests (needs libcheck, Capstone and nasm)" ON)
option(LOCKSTEP_WERROR "Treat warnings as errors" OFF)
option(LOCKSTEP_BREAK_LOCKS "Leave out what makes split locked accesses atomic, to see a test fail" OFF)
set(LOCKSTEP_SANITIZE "" CACHE STRING "Sanitizers for every target, as -fsanitize= takes them")

if(NOT CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  message(FATAL_ERROR "Lockstep runs on x86-64 hosts only; this is ${CMAKE_SYSTEM_PROCESSOR}.")
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(CAPSTONE REQUIRED IMPORTED_TARGET capstone)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)

add_library(lockstep_flags INTERFACE)
target_include_directories(lockstep_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(lockstep_flags INTERFACE _GNU_SOURCE)
target_compile_options(lockstep_flags INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wwrite-strings -Wvla
  -fno-strict-aliasing -fwrapv -fno-omit-frame-pointer
  $<$<BOOL:${LOCKSTEP_WERROR}>:-Werror>)
target_link_libraries(lockstep_flags INTERFACE Threads::Threads)
# What a test's time is multiplied with; scripts find it in the environment as TEST_SLOWNESS.
set(LOCKSTEP_SLOWNESS 1)
if(LOCKSTEP_SANITIZE OR CMAKE_BUILD_TYPE STREQUAL "Debug")
  set(LOCKSTEP_SLOWNESS 5)
endif()
if(LOCKSTEP_SANITIZE)
  target_compile_options(lockstep_flags INTERFACE -fsanitize=${LOCKSTEP_SANITIZE}
    -fno-sanitize-recover=all -g)
  target_link_options(lockstep_flags INTERFACE -fsanitize=${LOCKSTEP_SANITIZE})
  if(LOCKSTEP_SANITIZE MATCHES thread AND CMAKE_C_COMPILER_ID STREQUAL GNU)
    # The guest's fences, which it does not know, order nothing between our threads.
    target_compile_options(lockstep_flags INTERFACE -Wno-tsan)
  endif()
endif()
