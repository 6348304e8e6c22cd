/* The umbrella header of libpoe. */
#ifndef POE_POE_H
#define POE_POE_H

#include "poe/expert.h"
#include "poe/rng.h"
#include "poe/session.h"
#include "poe/status.h"

#endif
