/* libcrypto of OpenSSL 3 as the system's package installs it (libssl-dev): a digest, and a comparison whose time does
   not depend on what is compared. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
