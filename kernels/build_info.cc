// The versions that this library was built for, as text that vai_q_tf/ops/library.py finds in the file before loading it.
#include "tensorflow/core/public/version.h"

#define VAI_Q_TF_TEXT_OF(token) #token
#define VAI_Q_TF_TEXT(macro) VAI_Q_TF_TEXT_OF(macro)

#ifndef VAI_Q_TF_CUDA
#define VAI_Q_TF_CUDA "none"
#endif

extern "C" __attribute__((visibility("default"), used)) const char vai_q_tf_build_info[] =
    "vai_q_tf_ops{interface=10;tensorflow=" VAI_Q_TF_TEXT(TF_MAJOR_VERSION) "." VAI_Q_TF_TEXT(TF_MINOR_VERSION) "."
    VAI_Q_TF_TEXT(TF_PATCH_VERSION) ";cuda=" VAI_Q_TF_CUDA "}";
