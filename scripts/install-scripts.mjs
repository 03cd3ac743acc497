// The scripts that scripts/install-test.mjs runs in the project it installs into.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { ensure } from './install-run.mjs';

const root = path.resolve(import.meta.dirname, '..');

/** The README's first script, with paths that exist here. */
export function quickStart(modelPath, outputPath) {
  const readme = readFileSync(path.join(root, 'README.md'), 'utf8');
  const script = /^## Quick start\n[\s\S]*?^```js\n([\s\S]*?)^```/m.exec(readme)?.[1];
  ensure(
    script?.includes("from 'arrow-quant'"),
    'README.md has no script under "Quick start" that imports the package',
  );
  const replaced = new Set();
  const result = script.replace(/\b(modelPath|outputPath): '[^']*'/g, (_, name) => {
    replaced.add(name);
    return `${name}: ${JSON.stringify({ modelPath, outputPath }[name])}`;
  });
  ensure(replaced.size === 2, 'the first script of README.md names no modelPath or no outputPath');
  return result;
}

export const COMMONJS = `
const aq = require('arrow-quant');
aq.inspect('models/digits-dit').then(({ components }) => console.log(aq.version, components.length > 0));
`;

export const OPEN = `
import { openQuantizedModel } from 'arrow-quant';
const model = await openQuantizedModel(process.argv[2]);
const layer = model.layers.find(({ bits }) => bits !== null && bits !== undefined);
const rows = await model.dequantize(layer.name, { rows: 1 });
model.close();
console.log(model.layers.length, layer.name, rows.length);
`;

export const TYPESCRIPT = `
import { type ConfigInput, inspect, isArrowQuantError, openQuantizedModel, quantizeDiffusionModel } from 'arrow-quant';

const config: ConfigInput = { bitWidth: 4, groupSize: 64 };
export async function run(modelPath: string, outputPath: string): Promise<number> {
  const { compressionRatio } = await quantizeDiffusionModel({ modelPath, outputPath, config });
  return compressionRatio;
}
// @ts-expect-error the types must be there, not any
export const wrong: ConfigInput = { bitWidth: 3 };
export const opened: typeof openQuantizedModel = openQuantizedModel;
inspect('models/digits-dit').then(
  ({ components }) => console.log('components', components.length),
  (error: unknown) => console.log(isArrowQuantError(error) ? error.code : error),
);
`;

/** How TypeScript projects are set up, and whether Node can run what comes out. */
export const COMPILERS = [
  {
    title: 'module and moduleResolution node16',
    file: 'node16.mts',
    options: ['--module', 'node16', '--moduleResolution', 'node16'],
  },
  {
    title: 'moduleResolution bundler',
    file: 'bundler.mts',
    options: ['--module', 'esnext', '--moduleResolution', 'bundler'],
  },
  {
    title: 'module nodenext, CommonJS',
    file: 'nodenext.cts',
    options: ['--module', 'nodenext', '--moduleResolution', 'nodenext'],
  },
];

export const WITHOUT_ADDON = `
import { ArrowQuantError, DiffusionQuantConfig, inspect } from 'arrow-quant';
const error = await inspect('models/digits-dit').catch((caught) => caught);
console.log(error instanceof ArrowQuantError, error.code, error.suggestions.length > 1, new DiffusionQuantConfig().bitWidth);
`;
