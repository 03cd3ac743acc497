// Writes docs/errors.md from the generated error catalogue: node scripts/errors-doc.mjs [--check] [--catalogue=FILE]
// --check writes nothing and fails where the page differs.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const PAGE = at('docs/errors.md');

// How each error arises, by its most usual cause. A code without a line here, and a line without a code, stop the script.
const CAUSES = {
  AQ_INVALID_BIT_WIDTH: 'An option or a layer asks for another width, such as `bitWidth: 3`.',
  AQ_INVALID_GROUP_SIZE: 'An option asks for another size, such as `groupSize: 100`.',
  AQ_INVALID_TIME_GROUPS: 'The number is out of range or no whole number, such as `numTimeGroups: 0`.',
  AQ_INVALID_ACCURACY: 'The threshold is out of range or NaN, such as `minAccuracy: 1.1`.',
  AQ_INVALID_CONFIG: 'Any other option is wrong or unknown (`bit_width`), or several kinds of problems came together.',
  AQ_OUTPUT_EXISTS: 'Something is at `outputPath` already, often the result of an earlier run.',
  AQ_RESUME_MISMATCH: 'An interrupted run is to be continued with other settings.',
  AQ_VALIDATION_FAILED: 'A layer stays below `minAccuracy`: at once with `failFast`, else after the widest width was tried.',
  AQ_MODEL_NOT_FOUND: 'The path does not exist, the folder holds no weight file, or an index names a shard that is absent.',
  AQ_METADATA: 'A file beside the weights lacks a field, has one of a wrong type, or contradicts another file.',
  AQ_UNKNOWN_MODALITY: 'No metadata and no known tensor names tell what the model makes, or metadata name something unknown.',
  AQ_SHAPE_MISMATCH: 'Data do not fill the shape given with them, or two models that are compared differ in a shape.',
  AQ_QUANTIZATION_FAILED: 'Nothing in the model can be quantized, such as in a file with one bias, or it is quantized already; a layout cannot hold what is to go there.',
  AQ_NON_FINITE_WEIGHTS: 'A weight is NaN or infinite.',
  AQ_IO: 'The operating system refused to open, read, write or rename something; `details.errno` says why.',
  AQ_ARROW: 'A calibration file with the ending `.arrow` holds something else or ends too early.',
  AQ_PARQUET: 'A calibration file with the ending `.parquet` holds something else or ends too early.',
  AQ_SERDE: 'A JSON file of the model has a syntax error or is nested too deeply.',
  AQ_UNSUPPORTED_FORMAT: 'The model is a pickled checkpoint, an archive, a pipe, or any other thing that is no safetensors or GGUF file and no Parquet archive as this package wrote it.',
  AQ_UNSUPPORTED_DTYPE: 'A tensor that is to be quantized has a number type that cannot be, such as a complex one.',
  AQ_CORRUPT_MODEL: 'A weight file is cut short, its header or a checksum in it is not sound, or it changed while it was read.',
  AQ_OUT_OF_DISK: 'The disk of `outputPath` has too little space, which is seen before or while writing.',
  AQ_OUT_OF_MEMORY:
    'A single row of a tensor needs more memory than `maxMemoryLimitMb`, or the system refuses an allocation at the smallest block.',
  AQ_TIMEOUT: 'The job took longer than `timeoutMs`, or nothing moved for `stallTimeoutMs`; `details.clock` says which.',
  AQ_DEVICE_UNAVAILABLE: 'The call names a device that this machine does not have.',
  AQ_DEVICE_FAILED: 'A device fails in the middle of work and the CPU may not take over.',
  AQ_OUTPUT_BUSY: 'Another job, in this process or another one, is writing the same `outputPath`.',
  AQ_ABORTED: 'The `signal` of the call was aborted, before it or while it ran.',
  AQ_INTERNAL: 'A defect: native code panicked, or it and the JavaScript part disagree.',
  AQ_NATIVE_LOAD: 'The addon for this platform is missing, broken, or of another version than the package.',
};

/** The generated file holds one JSON object between `=` and `as const`; reading it so needs no build. */
function readCatalogue(file) {
  const text = readFileSync(file, 'utf8');
  const json = /=\s*(\{[\s\S]*\})\s*as const;/.exec(text)?.[1];
  if (json === undefined) throw new Error(`${file}: no catalogue in it`);
  return JSON.parse(json);
}

function checkCodes(catalogue) {
  const codes = new Set(Object.keys(catalogue));
  const missing = [...codes].filter((code) => !Object.hasOwn(CAUSES, code));
  const unknown = Object.keys(CAUSES).filter((code) => !codes.has(code));
  if (missing.length > 0) throw new Error(`scripts/errors-doc.mjs has no cause for ${missing.join(', ')}`);
  if (unknown.length > 0) throw new Error(`scripts/errors-doc.mjs names unknown codes: ${unknown.join(', ')}`);
}

const cell = (text) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('\n', ' ');

function row([code, { className, title, kind, retryable, hint }]) {
  const cells = [`\`${code}\``, className, title, kind, retryable ? 'yes' : 'no', hint];
  return `| ${cells.map(cell).join(' | ')} |`;
}

function cause([code]) {
  return `- \`${code}\`: ${CAUSES[code]}`;
}

function render(catalogue) {
  const rows = Object.entries(catalogue);
  return `# Errors

<!-- Generated by scripts/errors-doc.mjs from the error catalogue; do not edit. -->

Every error has a \`code\` that keeps its meaning inside a major version. Catch by class, branch on \`code\`, read \`details\`; the message is
prose and may change. \`arrow-quant explain CODE\` prints a row of this page.

Kind: *user* means that the call or the files must change, *transient* that the same call may succeed later, *permanent* that this input
can never work, *system* a defect or a broken machine. Kind and hint are those of the code; a single error may know better (\`AQ_IO\` by its
errno, hints by the case).

| code | class | title | kind | retryable | hint |
|---|---|---|---|---|---|
${rows.map(row).join('\n')}

## How they arise

${rows.map(cause).join('\n')}
`;
}

const [option, ...rest] = process.argv.slice(2).filter((argument) => argument !== '--check');
if (rest.length > 0 || (option !== undefined && !option.startsWith('--catalogue='))) {
  throw new Error('usage: node scripts/errors-doc.mjs [--check] [--catalogue=FILE]');
}
const catalogue = readCatalogue(option?.slice('--catalogue='.length) ?? at('src-ts/generated/error-catalog.ts'));
checkCodes(catalogue);
const page = render(catalogue);
if (!process.argv.includes('--check')) {
  writeFileSync(PAGE, page);
} else {
  // A checkout may have other line ends.
  let committed = '';
  try {
    committed = readFileSync(PAGE, 'utf8').replaceAll('\r\n', '\n');
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  if (committed !== page) throw new Error('docs/errors.md differs from the catalogue; run node scripts/errors-doc.mjs');
}
