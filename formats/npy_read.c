/* npy: "\x93NUMPY", version, header length (u16 in version 1, u32 in 2 and 3), a Python dict literal with the keys
 * descr, fortran_order and shape in any order, the numbers (NumPy Enhancement Proposal 1 and numpy.lib.format).
 *
 * Checked: each key once and no other; descr is a plain number type of at most 8 bytes (objects, text, complex,
 * structures are refused by name); the size of the shape, computed without overflow, is that of the bytes that follow.
 * One text of bytes (dtype S, shape ()), as scipy.sparse writes the name of a format, is read as those bytes.
 * Big-endian and Fortran-ordered arrays are turned into little-endian C order. */
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/bytes.h"
#include "formats/tensor_reader.h"

poe_status poei_npy_header_size(const char *path, const char *entry, const unsigned char *start, size_t *size,
                                poe_error *error) {
  if (memcmp(start, "\x93NUMPY", 6) != 0) {
    return poei_file_error(error, POE_E_FORMAT, path, entry, "is not an npy array (its first bytes are others)");
  }
  unsigned major = start[6], minor = start[7];
  if (major < 1 || major > 3 || minor != 0) {
    return poei_file_error(error, POE_E_UNSUPPORTED, path, entry, "version %u.%u of npy is not supported", major,
                           minor);
  }
  size_t length = major == 1 ? poei_load_u16(start + 8) : poei_load_u32(start + 8);
  if (length > POEI_NPY_HEADER_LIMIT) {
    return poei_file_error(error, POE_E_FORMAT, path, entry, "an npy header of %zu bytes is declared; the limit is %d",
                           length, POEI_NPY_HEADER_LIMIT);
  }
  *size = (major == 1 ? 10 : 12) + length;
  return POE_OK;
}

/* The dict literal while it is read. */
typedef struct npy_parser {
  const char *path, *entry;
  const char *at, *end;
  poei_npy_header *header;
  poe_error *error;
  size_t text; /* bytes of each element when the descr is S, else 0 */
} npy_parser;

static poe_status npy_refuse(const npy_parser *parser, const char *what) {
  return poei_file_error(parser->error, POE_E_FORMAT, parser->path, parser->entry, "the npy header %s", what);
}

static void npy_blank(npy_parser *parser) {
  while (parser->at < parser->end && memchr(" \t\r\n", *parser->at, 4) != NULL) {
    parser->at++;
  }
}

/* Takes `sign` off, after blanks. */
static bool npy_take(npy_parser *parser, char sign) {
  npy_blank(parser);
  if (parser->at == parser->end || *parser->at != sign) {
    return false;
  }
  parser->at++;
  return true;
}

/* A quoted text without escapes: its bytes, which stay in the header. */
static bool npy_text(npy_parser *parser, const char **text, size_t *length) {
  npy_blank(parser);
  if (parser->at == parser->end || (*parser->at != '\'' && *parser->at != '"')) {
    return false;
  }
  char quote = *parser->at++;
  const char *stop = memchr(parser->at, quote, (size_t)(parser->end - parser->at));
  if (stop == NULL || memchr(parser->at, '\\', (size_t)(stop - parser->at)) != NULL) {
    return false;
  }
  *text = parser->at;
  *length = (size_t)(stop - parser->at);
  parser->at = stop + 1;
  return true;
}

static bool npy_word(npy_parser *parser, const char *word) {
  size_t length = strlen(word);
  npy_blank(parser);
  if ((size_t)(parser->end - parser->at) < length || memcmp(parser->at, word, length) != 0) {
    return false;
  }
  parser->at += length;
  return true;
}

/* Types that numpy has and poe does not read, by the letter of their descr. */
static const char *npy_foreign(char kind) {
  switch (kind) {
  case 'O':
    return "Python objects (pickled)";
  case 'c':
    return "complex numbers";
  case 'U':
  case 'S':
  case 'a':
    return "text";
  case 'V':
    return "raw or structured records";
  case 'M':
  case 'm':
    return "dates";
  default:
    return NULL;
  }
}

/* The number n of a type code Sn; 0 when it is another. */
static size_t npy_text_size(const char *code, size_t length) {
  size_t size = 0;
  if (length < 2 || length > 4 || code[0] != 'S') {
    return 0;
  }
  for (size_t i = 1; i < length; i++) {
    if (code[i] < '0' || code[i] > '9') {
      return 0;
    }
    size = 10 * size + (size_t)(code[i] - '0');
  }
  return size;
}

static poe_status npy_refuse_foreign(const npy_parser *parser, const char *foreign, const char *shown) {
  return poei_file_error(parser->error, POE_E_UNSUPPORTED, parser->path, parser->entry,
                         "holds %s (dtype '%s'); arrays of plain numbers are read", foreign, shown);
}

static poe_status npy_descr(npy_parser *parser) {
  static const struct {
    const char *code;
    poei_dtype dtype;
  } types[] = {{"f8", POEI_F64}, {"f4", POEI_F32}, {"f2", POEI_F16}, {"i8", POEI_I64},
               {"i4", POEI_I32}, {"i2", POEI_I16}, {"i1", POEI_I8},  {"u8", POEI_U64},
               {"u4", POEI_U32}, {"u2", POEI_U16}, {"u1", POEI_U8},  {"b1", POEI_BOOL}};
  const char *text, *code;
  size_t length;
  npy_blank(parser);
  if (parser->at < parser->end && *parser->at == '[') {
    return poei_file_error(parser->error, POE_E_UNSUPPORTED, parser->path, parser->entry,
                           "a structured array (records with fields); arrays of plain numbers are read");
  }
  if (!npy_text(parser, &text, &length) || length == 0) {
    return npy_refuse(parser, "has a descr that is not a type");
  }
  bool ordered = memchr("<>|=", text[0], 4) != NULL;
  code = text + ordered;
  poei_shown shown;
  poei_show(&shown, text, length);
  parser->text = npy_text_size(code, length - (size_t)ordered);
  if (parser->text > 0) {
    parser->header->tensor.dtype = POEI_U8;
    return POE_OK;
  }
  const char *foreign = length > (size_t)ordered ? npy_foreign(code[0]) : NULL;
  if (foreign != NULL) {
    return npy_refuse_foreign(parser, foreign, shown.text);
  }
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    if (length == 2 + (size_t)ordered && memcmp(code, types[i].code, 2) == 0) {
      if (text[0] == '|' && code[1] != '1') {
        return npy_refuse(parser, "has a type of several bytes without byte order");
      }
      parser->header->tensor.dtype = types[i].dtype;
      parser->header->big_endian = text[0] == '>' && code[1] != '1';
      return POE_OK;
    }
  }
  return poei_file_error(parser->error, POE_E_UNSUPPORTED, parser->path, parser->entry, "dtype '%s' is not supported",
                         shown.text);
}

static poe_status npy_order(npy_parser *parser) {
  bool fortran = npy_word(parser, "True");
  if (!fortran && !npy_word(parser, "False")) {
    return npy_refuse(parser, "has a fortran_order that is neither True nor False");
  }
  parser->header->fortran = fortran;
  return POE_OK;
}

/* A tuple of sizes: (), (3,), (3, 4), and with the L that Python 2 wrote. */
static poe_status npy_shape(npy_parser *parser) {
  poei_tensor *tensor = &parser->header->tensor;
  if (!npy_take(parser, '(')) {
    return npy_refuse(parser, "has a shape that is not a tuple");
  }
  size_t ndim = 0;
  bool comma = true;
  while (!npy_take(parser, ')')) {
    if (!comma || parser->at == parser->end || *parser->at < '0' || *parser->at > '9') {
      return npy_refuse(parser, "has a shape that is not a tuple of sizes");
    }
    size_t value = 0;
    for (; parser->at < parser->end && *parser->at >= '0' && *parser->at <= '9'; parser->at++) {
      if (!poei_mul_size(value, 10, &value) || !poei_add_size(value, (size_t)(*parser->at - '0'), &value)) {
        return npy_refuse(parser, "has a dimension that overflows");
      }
    }
    if (parser->at < parser->end && *parser->at == 'L') {
      parser->at++;
    }
    if (ndim == POEI_MAX_DIMS) {
      return poei_file_error(parser->error, POE_E_UNSUPPORTED, parser->path, parser->entry,
                             "more than %d dimensions are not supported", POEI_MAX_DIMS);
    }
    tensor->shape[ndim++] = value;
    comma = npy_take(parser, ',');
  }
  if (ndim == 1 && !comma) {
    return npy_refuse(parser, "has a shape that is a number, not a tuple"); /* (3) is 3 in Python */
  }
  tensor->ndim = ndim;
  return POE_OK;
}

static poe_status npy_dict(npy_parser *parser) {
  static const struct {
    const char *key;
    poe_status (*read)(npy_parser *);
  } keys[] = {{"descr", npy_descr}, {"fortran_order", npy_order}, {"shape", npy_shape}};
  enum { KEYS = sizeof keys / sizeof keys[0] };
  bool seen[KEYS] = {false};
  if (!npy_take(parser, '{')) {
    return npy_refuse(parser, "is not a dict");
  }
  bool comma = true;
  while (!npy_take(parser, '}')) {
    const char *text;
    size_t length, k = 0;
    if (!comma || !npy_text(parser, &text, &length) || !npy_take(parser, ':')) {
      return npy_refuse(parser, "is not a dict of keys and values");
    }
    while (k < KEYS && (strlen(keys[k].key) != length || memcmp(keys[k].key, text, length) != 0)) {
      k++;
    }
    if (k == KEYS || seen[k]) {
      return npy_refuse(parser, k == KEYS ? "has a key beside descr, fortran_order and shape" : "has a key twice");
    }
    seen[k] = true;
    poe_status status = keys[k].read(parser);
    if (status != POE_OK) {
      return status;
    }
    comma = npy_take(parser, ',');
  }
  npy_blank(parser);
  if (parser->at != parser->end) {
    return npy_refuse(parser, "goes on after its dict");
  }
  for (size_t k = 0; k < KEYS; k++) {
    if (!seen[k]) {
      return npy_refuse(parser, k == 0 ? "lacks descr" : k == 1 ? "lacks fortran_order" : "lacks shape");
    }
  }
  return POE_OK;
}

poe_status poei_npy_header_read(const char *path, const char *entry, const unsigned char *bytes, size_t size,
                                poei_npy_header *header, poe_error *error) {
  *header = (poei_npy_header){0};
  const char *text = (const char *)bytes + (bytes[6] == 1 ? 10 : 12);
  npy_parser parser = {path, entry, text, (const char *)bytes + size, header, error, 0};
  poe_status status = npy_dict(&parser);
  if (status == POE_OK && parser.text > 0) {
    char shown[24];
    snprintf(shown, sizeof shown, "|S%zu", parser.text);
    if (header->tensor.ndim > 0) {
      return npy_refuse_foreign(&parser, npy_foreign('S'), shown);
    }
    header->tensor.ndim = 1;
    header->tensor.shape[0] = parser.text;
  }
  if (status != POE_OK) {
    return status;
  }
  poei_tensor *tensor = &header->tensor;
  char shape[96];
  if (!poei_shape_count(tensor->ndim, tensor->shape, poei_dtype_size(tensor->dtype), &tensor->count,
                        &header->data_size)) {
    return poei_file_error(error, POE_E_FORMAT, path, entry, "the size of shape %s overflows",
                           poei_shape_text(tensor->ndim, tensor->shape, shape, sizeof shape));
  }
  return POE_OK;
}

/* Copies in (as the header says) to out (C order, little-endian). */
static void npy_reorder(const poei_npy_header *header, const unsigned char *in, unsigned char *out) {
  const poei_tensor *tensor = &header->tensor;
  size_t item = poei_dtype_size(tensor->dtype), index[POEI_MAX_DIMS] = {0}, stride[POEI_MAX_DIMS] = {0}, from = 0,
         step = 1;
  for (size_t k = 0; k < tensor->ndim; k++) { /* Fortran: the first index varies fastest */
    size_t at = header->fortran ? k : tensor->ndim - 1 - k;
    stride[at] = step;
    step *= tensor->shape[at];
  }
  for (size_t i = 0; i < tensor->count; i++, out += item) {
    const unsigned char *number = in + from * item;
    for (size_t b = 0; b < item; b++) {
      out[b] = number[header->big_endian ? item - 1 - b : b];
    }
    for (size_t k = tensor->ndim; k-- > 0;) { /* the next index in C order */
      from += stride[k];
      if (++index[k] < tensor->shape[k]) {
        break;
      }
      from -= stride[k] * tensor->shape[k];
      index[k] = 0;
    }
  }
}

poe_status poei_npy_add(poei_tensor_file *file, const char *name, const poei_npy_header *header,
                        const unsigned char *data, void *block, poe_error *error) {
  poei_tensor tensor = header->tensor;
  tensor.name = name;
  tensor.data = data;
  if (header->big_endian || (header->fortran && tensor.ndim > 1)) {
    unsigned char *ordered = poei_alloc(header->data_size, 1);
    if (ordered != NULL) {
      npy_reorder(header, data, ordered);
    }
    poei_free(block);
    if (ordered == NULL) {
      return poei_file_memory_error(error, file->path);
    }
    tensor.data = block = ordered;
  }
  return poei_tensor_file_add(file, &tensor, block, error);
}

poe_status poei_npy_read(poei_tensor_file *file, poe_error *error) {
  file->format = "npy";
  if (file->size < POEI_NPY_START) {
    return poei_file_error(error, POE_E_FORMAT, file->path, NULL, "%zu bytes are too few for an npy file", file->size);
  }
  size_t start;
  poei_npy_header header;
  poe_status status = poei_npy_header_size(file->path, NULL, file->bytes, &start, error);
  if (status == POE_OK && start > file->size) {
    status = poei_file_error(error, POE_E_FORMAT, file->path, NULL, "the npy header ends beyond the file's end");
  }
  if (status == POE_OK) {
    status = poei_npy_header_read(file->path, NULL, file->bytes, start, &header, error);
  }
  if (status == POE_OK && header.data_size != file->size - start) {
    char shape[96];
    status = poei_file_error(error, POE_E_FORMAT, file->path, NULL,
                             "%s of shape %s takes %zu bytes, the file holds %zu", poei_dtype_name(header.tensor.dtype),
                             poei_shape_text(header.tensor.ndim, header.tensor.shape, shape, sizeof shape),
                             header.data_size, file->size - start);
  }
  return status == POE_OK ? poei_npy_add(file, "", &header, file->bytes + start, NULL, error) : status;
}
