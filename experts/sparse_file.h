/* Symmetric sparse matrices from files, as scipy.sparse.save_npz writes them. */
#ifndef POE_EXPERTS_SPARSE_FILE_H
#define POE_EXPERTS_SPARSE_FILE_H

#include "core/sparse.h"
#include "poe/expert.h"

/* Reads the FILE argument `name`, an npz with data, indices and indptr (compressed rows or columns: of a symmetric
 * matrix they are the same) and, when they are there, shape and format. Both triangles must be there and agree to a
 * millionth of sqrt(|a_ii a_jj|); they are averaged. Equal places add up, as in scipy. POE_E_FORMAT naming the file and
 * the array, POE_E_SHAPE when the matrix is not d x d, POE_E_DOMAIN at the argument when it is not symmetric. */
poe_status poei_sparse_file_read(const poe_args *args, const char *name, size_t d, poei_sparse_matrix *out,
                                 poe_error *error);

#endif
