/* Text and small binary files: reading whole, writing atomically, csv, png, json and SHA-256. */
#ifndef POE_FORMATS_TEXT_FILE_H
#define POE_FORMATS_TEXT_FILE_H

#include "formats/atomic_file.h"
#include "formats/csv.h"
#include "formats/digest.h"
#include "formats/json_text.h"
#include "formats/png_file.h"
#include "formats/whole_file.h"

#endif
