"""Answers check requests, one JSON object a line on stdin, one a line on stdout, until stdin ends.

Importing the loaders takes most of a minute on a slow machine: one process serves a whole run.
Requests, each with "id" and "check": "open" of "original", "sdnq", "plain", "samples"?, "predict"?; "evaluate" of "original", "quantized";
"time_tables" of "original", "plain", "calibration"; "time_path" of "original", "computed", for which "time_path_cases" lists models and "time_path_make" makes "name" in "folder";
"gguf" of "original", "folder", "plain"?, "asked"?; "gguf_diffusers" of "original", "folder"; "gguf_self_test" of "original", "folder", "kind",
"asked"?; "compressed_tensors" of "original", "folder", "plain", "zeros"?, "uniform"?; "compressed_tensors_self_test" of the first four;
"compressed_tensors_same" of "first", "second"; "compressed_tensors_make" of "folder";
"gguf_original" of "name", "original", "plain", "renamed", "bits"; "gguf_original_loader" of the first four and "predict";
"gguf_original_self_test" of the first four and "kind"; "gguf_original_make" of "name", "folder"; "gguf_original_refused" of "what", "folder";
"parquet" and "parquet_self_test" of "original", "folder", "opened", the former "calibrated"? too; "parquet_ways" of "original", "archive",
"opened", "again", "plain", "sdnq", "back"; "parquet_make" of "folder";
"comfyui" of "original", "folder", "own", "name"?, "bits"?, "rotates"?; "comfyui_self_test" of the first four; "comfyui_make" of "original",
"folder".
"""
import json
import os
import sys
import traceback

# Libraries print to stdout now and then; the answers keep the real one to themselves.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

import loading  # noqa: E402  sets the environment before torch is imported
import comfyui_by_hand  # noqa: E402
import comfyui_files  # noqa: E402
import compressed_tensors_damaged  # noqa: E402
import compressed_tensors_files  # noqa: E402
import evaluate  # noqa: E402
import gguf_files  # noqa: E402
import gguf_original  # noqa: E402
import open_sdnq  # noqa: E402
import parquet_files  # noqa: E402
import parquet_ways  # noqa: E402
import time_path  # noqa: E402
import time_tables  # noqa: E402

CHECKS = {"open": open_sdnq.check, "evaluate": evaluate.evaluate, "time_path": time_path.check, "time_path_cases": time_path.cases,
          "time_path_make": time_path.make, "time_tables": time_tables.check, "gguf": gguf_files.check,
          "gguf_diffusers": gguf_files.check_diffusers, "gguf_self_test": gguf_files.self_test,
          "compressed_tensors": compressed_tensors_files.check, "compressed_tensors_self_test": compressed_tensors_damaged.self_test,
          "compressed_tensors_same": compressed_tensors_files.same, "compressed_tensors_make": compressed_tensors_files.make_odd,
          "gguf_original": gguf_original.check, "gguf_original_loader": gguf_original.check_loader,
          "gguf_original_self_test": gguf_original.self_test, "gguf_original_make": gguf_original.make,
          "gguf_original_refused": gguf_original.make_refused,
          "parquet": parquet_files.check, "parquet_self_test": parquet_ways.self_test, "parquet_ways": parquet_ways.ways,
          "parquet_make": parquet_ways.make_outliers,
          "comfyui": comfyui_files.check, "comfyui_self_test": comfyui_by_hand.self_test, "comfyui_make": comfyui_by_hand.make_outliers}


def reply(value):
    answers.write(json.dumps(value) + "\n")


def versions():
    import diffusers
    import safetensors
    import transformers
    return {"torch": loading.torch.__version__, "diffusers": diffusers.__version__, "transformers": transformers.__version__,
            "safetensors": safetensors.__version__}


def main():
    reply({"id": 0, "value": versions()})
    for line in sys.stdin:
        request = json.loads(line)
        number, check = request.pop("id"), CHECKS[request.pop("check")]
        try:
            reply({"id": number, "value": check(**request)})
        except Exception as error:  # a loader may fail with anything: it is an answer, not the end of the run
            traceback.print_exc()
            reply({"id": number, "error": f"{type(error).__name__}: {error}"[:2000]})


if __name__ == "__main__":
    main()
