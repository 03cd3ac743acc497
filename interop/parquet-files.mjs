// Parquet archives read by pyarrow and DuckDB and decoded by numpy, on their way to other layouts and back, and damaged on purpose.

import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFluxLike, TRAINED } from './models.mjs';

const BITS = [2, 4, 8];
const MODELS = ['digits-dit', 'digits-unet', 'verses-dllm', 'flux-like'];
/** Beside every model at every width: signed codes, which other layouts store in another way, inputs over time, and rotated layers. */
const CASES = [
  ...MODELS.flatMap((model) => BITS.map((bitWidth) => [`${model} ${bitWidth} bits`, { model, config: { bitWidth } }])),
  ...BITS.map((bitWidth) => [
    `digits-unet ${bitWidth} bits g32 symmetric`,
    { model: 'digits-unet', config: { bitWidth, groupSize: 32, symmetric: true } },
  ]),
  ['digits-dit 4 bits calibrated', { model: 'digits-dit', config: { bitWidth: 4 }, calibrated: true }],
  ['outliers 4 bits g32', { model: 'outliers', config: { bitWidth: 4, groupSize: 32 } }],
  ['outliers 2 bits g64 symmetric', { model: 'outliers', config: { bitWidth: 2, groupSize: 64, symmetric: true } }],
];
/** What is damaged: convolutions and zeros in the one, rotated layers in the other. */
const DAMAGED = ['digits-unet 4 bits', 'outliers 4 bits g32'];
/** The rotated model has random weights and no inputs to ask it about. */
const NOT_ASKED = ['outliers'];

/** The titles of a case's checks, those that are wanted. */
function titlesOf(name, wanted) {
  const titles = {
    file: `parquet ${name}`,
    damaged: DAMAGED.includes(name) && `self-test parquet ${name}`,
    ways: `lossless parquet ${name}`,
  };
  return Object.fromEntries(Object.entries(titles).filter(([, title]) => title && wanted(title)));
}

export async function runParquetFiles({ work, quantizeDiffusionModel, python, checker, report, wanted }) {
  const { exportModel, openQuantizedModel } = await import('../dist/index.js');
  const root = join(work, 'parquet');
  const made = {};
  const originalOf = async (model) => {
    if (model === 'flux-like') made[model] ??= await makeFluxLike(python, join(work, 'parquet-flux-like'));
    if (model === 'outliers') made[model] ??= await checker.ask('parquet_make', { folder: join(work, 'parquet-made') });
    return TRAINED[model] ?? made[model];
  };
  for (const [name, { model, config, calibrated }] of CASES) {
    const titles = titlesOf(name, wanted);
    if (Object.keys(titles).length === 0) continue;
    let original;
    /** Quantizes, or writes what is in `from` in another layout; the folder. */
    const write = async (as, layout, from) => {
      const outputPath = join(root, as);
      const calibration = calibrated && { calibration: join(original, 'calibration.safetensors'), numTimeGroups: 4 };
      const settings = { ...config, ...calibration, minAccuracy: 0 };
      if (from === undefined)
        await quantizeDiffusionModel({ modelPath: original, outputPath, layout, config: settings });
      else await exportModel({ from, to: outputPath, layout, ...(layout === 'plain' && { plainDtype: 'f32' }) });
      return outputPath;
    };
    const checks = { file: checkFile, damaged: checkDamaged, ways: checkWays };
    try {
      original = await originalOf(model);
      const folder = await write('archive', 'parquet');
      const opened = join(root, 'opened.safetensors');
      await writeOpened(await openQuantizedModel(folder), opened);
      for (const [check, title] of Object.entries(titles)) {
        // A check that breaks down is reported under its own title, and the next one is made.
        const [problems, figures] = await checks[check]({
          model,
          original,
          folder,
          opened,
          calibrated,
          write,
          checker,
        }).catch((error) => [[error.message]]);
        report(title, problems, figures);
      }
    } catch (error) {
      for (const title of Object.values(titles)) report(title, [error.message]);
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  }
}

/** What an open model decodes, as a safetensors file; of each layer the upper rows and the lower ones are asked for apart. */
async function writeOpened(model, path) {
  const header = {};
  let end = 0;
  for (const { name, shape } of model.layers) {
    const begin = end;
    end += 4 * shape.reduce((product, n) => product * n, 1);
    header[name] = { dtype: 'F32', shape, data_offsets: [begin, end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = await open(path, 'w');
  try {
    await file.writeFile(Buffer.concat([length, json]));
    for (const { name, shape } of model.layers) {
      const upper = shape[0] >> 1;
      for (const range of [{ rows: upper }, { firstRow: upper }]) {
        const values = await model.dequantize(name, range);
        await file.writeFile(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      }
    }
  } finally {
    await file.close();
    model.close();
  }
}

/** Problems, and figures of what is as it should be; so are the other checks. */
async function checkFile({ original, folder, opened, calibrated = false, checker }) {
  const r = await checker.ask('parquet', { original, folder, opened, calibrated });
  return [r.problems, r.kinds && figures(r)];
}

async function checkDamaged({ original, folder, opened, checker }) {
  const { unnoticed, damages } = await checker.ask('parquet_self_test', { original, folder, opened });
  return [unnoticed.map((what) => `${what}: not noticed`), `${damages} kinds of damage are noticed`];
}

/** parquet -> sdnq -> parquet, sdnq -> parquet -> sdnq, and parquet -> plain; the real loader opens the sdnq folder of the first way. */
async function checkWays({ model, original, folder, opened, write, checker }) {
  const plain = await write('plain', 'plain', folder);
  const exported = await write('exported', 'sdnq', folder);
  const again = await write('again', 'parquet', exported);
  const sdnq = await write('sdnq', 'sdnq');
  const between = await write('between', 'parquet', sdnq);
  const back = await write('back', 'sdnq', between);
  const r = await checker.ask('parquet_ways', { original, archive: folder, opened, again, plain, sdnq, back });
  const predict = !NOT_ASKED.includes(model);
  const loaded = await checker.ask('open', { original, sdnq: exported, plain, samples: 4, predict });
  const problems = [...r.problems, ...loaded.problems.map((problem) => `the exported folder: ${problem}`)];
  return [problems, `${r.rows} rows and ${r.tensors} tensors of sdnq are equal; ${loaded.quantized} modules open`];
}

function figures({ rows, kinds, rotatedDifference }) {
  const found = Object.entries(kinds)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(', ');
  const values =
    rotatedDifference === 0 ? 'bit-equal' : `bit-equal, rotated within ${rotatedDifference.toExponential(1)}`;
  return `${rows} rows (${found}), own decoder: ${values}`;
}
