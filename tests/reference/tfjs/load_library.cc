// A module for Node.js that loads a library of TensorFlow's operations.
//
//   require('./load_library.node')('/path/to/_normalize_ops.so')
//
// Node's own process.dlopen closes a library that is no module of its kind.
#include <node_api.h>

#include <string>

#include "tensorflow/c/c_api.h"

namespace {

napi_value Load(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  char path[4096];
  size_t length = 0;
  if (napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr) != napi_ok ||
      count != 1 ||
      napi_get_value_string_utf8(env, argument, path, sizeof path, &length) !=
          napi_ok) {
    napi_throw_type_error(env, nullptr, "expected the path of a library");
    return nullptr;
  }
  TF_Status* status = TF_NewStatus();
  // Never deleted: its operations are there until the process ends.
  TF_LoadLibrary(path, status);
  const bool is_ok = TF_GetCode(status) == TF_OK;
  const std::string message = TF_Message(status);
  TF_DeleteStatus(status);
  if (!is_ok) napi_throw_error(env, nullptr, message.c_str());
  return nullptr;
}

napi_value Init(napi_env env, napi_value) {
  napi_value load;
  napi_create_function(env, "load", NAPI_AUTO_LENGTH, Load, nullptr, &load);
  return load;
}

}  // namespace

NAPI_MODULE(load_library, Init)
