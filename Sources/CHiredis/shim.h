/* hiredis as the system's package installs it (libhiredis-dev). Its variadic calls cannot be imported by Swift;
   the ...Argv calls do the same. */
#include <hiredis/hiredis.h>
