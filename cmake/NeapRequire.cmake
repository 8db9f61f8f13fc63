# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause

# neap_require(PURPOSE COMMAND [VARIABLE NAME]...)
# Stops where one of the variables, which find_package() and its kin have set, says that nothing was found: with all names that are
# missing, and with the command that installs them.
function(neap_require purpose command)
  set(missing "")
  while(ARGN)
    list(POP_FRONT ARGN variable name)
    if(NOT ${variable})
      list(APPEND missing "${name}")
    endif()
  endwhile()
  if(missing)
    list(JOIN missing ", " listed)
    message(FATAL_ERROR "${purpose} cannot be configured without ${listed}. "
      "To install what is missing on Debian: ${command}")
  endif()
endfunction()
