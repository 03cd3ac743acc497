/** What of the docs is not run, each with its reason, and what blocks leave to the reader. A row that nothing uses any more is an error. */

/** Commands of shell blocks, by how they begin. */
export const NOT_RUN: readonly (readonly [begins: string, why: string])[] = [
  ['npm ci', 'installs packages, and builds or tests everything: what CI does from a clean clone'],
  ['npm install', 'needs the registry'],
  ['npm run build', 'builds the addon: without it no test runs'],
  ['npm run demo', 'builds first; __test__/examples.test.ts runs examples/demo.mjs'],
  ['npm test', 'this is it'],
  [
    'npx arrow-quant quantize ./FLUX.1-dev --bit-width 4 --device cuda',
    'needs a GPU; __test__/cuda.test.ts has a driver without one',
  ],
  ['cargo build --release -p aq-cuda', 'builds; crates/cuda/tests/simulated.rs runs the same program'],
  ['./aq-cuda-check', 'needs a GPU; crates/cuda/tests/simulated.rs runs it without'],
  ['compute-sanitizer', "NVIDIA's, for a GPU"],
  ['python convert_hf_to_gguf.py', "llama.cpp's converter: needs llama.cpp and the model"],
  [
    'python tools/capture_calibration.py',
    'needs torch and the model; its flags are checked here, and tools/test_capture_calibration.py runs it',
  ],
  ['llama-diffusion-cli', 'of llama.cpp'],
  ['sd-cli', 'of stable-diffusion.cpp'],
  ['esbuild', 'another program; npm run test:install bundles with Rolldown'],
  ['duckdb', 'another program; interop/parquet_files.py asks DuckDB the same'],
  [
    'source <(arrow-quant completion',
    'of the shell; what is in the brackets is run, and cli-completion.test.ts tries the scripts',
  ],
  ['curl', 'asks a service that runs; __test__/examples.test.ts has the service ask itself'],
  ['node examples/service.mjs 8080', 'serves until it is stopped; __test__/examples.test.ts runs it without a port'],
];

/**
 * Python blocks, by a text that is in them, and what runs them: any Python, one with the loaders (AQ_INTEROP_PYTHON names it), or none. All
 * are compiled.
 */
export const PYTHON: readonly (readonly [holds: string, by: 'any' | 'interop' | 'none', why: string])[] = [
  ['id="report-data"', 'any', 'the standard library is all it needs'],
  ['DiTTransformer2DModel.from_pretrained("examples/out/digits-dit-int4', 'interop', 'interop opens it so too'],
  ['from_pretrained("my-text-model-sdnq")', 'interop', 'interop opens it so too'],
  ['from_pretrained("verses-int4"', 'interop', 'interop opens it so too'],
  ['pq.read_table("transformer.arrow-quant.parquet"', 'interop', 'interop/parquet_files.py reads it so too'],
  ['FluxPipeline.from_pretrained("FLUX.1-dev-q4"', 'none', 'needs FLUX; interop opens GGUF files of a small one'],
  ['from_pretrained("sdxl-int8"', 'none', 'needs SDXL and a GPU; interop opens small UNets'],
  [
    'with Capture(pipe.transformer, rows=64)',
    'none',
    "a piece: pipeline and prompts are the reader's; examples/capture_calibration.py is whole",
  ],
];

/** What goes before JavaScript blocks that are pieces, by a text that is in them. */
export const BEFORE: readonly (readonly [holds: string, code: string])[] = [
  [
    "DiffusionQuantConfig.fromYaml('options.yaml')",
    "import { DiffusionQuantConfig, quantizeDiffusionModel } from 'arrow-quant';\nconst [modelPath, outputPath] = ['./FLUX.1-dev', './block-out'];",
  ],
];

/** Languages that are no code. */
export const NO_CODE = ['text'];
