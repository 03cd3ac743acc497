// npm run demo: quantizes the example model at 8, 4 and 2 bits and prints what each costs.

import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { quantizeDiffusionModel } from '../dist/index.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const modelPath = join(here, 'digits-dit');
const shown = (path) => relative(process.cwd(), path) || '.';

/** The layer that lost most, by the similarity of its weights. */
function worstLayer(layers) {
  return layers.reduce((worst, layer) => (layer.cosine < worst.cosine ? layer : worst));
}

function tableRow(result) {
  const worst = worstLayer(result.layers);
  return [
    `${result.bitWidth}`,
    `${result.modelSizeMb.toFixed(2)} of ${result.originalSizeMb.toFixed(2)}`,
    `${result.compressionRatio.toFixed(2)}x`,
    result.bitsPerWeight.toFixed(2),
    result.cosineSimilarity.toFixed(5),
    result.sqnrDb.toFixed(1),
    `${result.layers.length}`,
    `${result.quantizationTimeS.toFixed(1)} s`,
    `${worst.name} (${worst.scheme.bits} bits, ${worst.cosine.toFixed(4)})`,
  ];
}

function printTable(rows) {
  const header = ['bits', 'MB', 'ratio', 'bits/weight', 'cosine', 'SQNR dB', 'layers', 'time', 'worst layer (cosine)'];
  const all = [header, ...rows];
  const widths = header.map((_, i) => Math.max(...all.map((row) => row[i].length)));
  for (const row of all)
    console.log(row.map((cell, i) => (i === row.length - 1 ? cell : cell.padStart(widths[i]))).join('  '));
}

async function main() {
  console.log(`quantizing ${shown(modelPath)}, a small diffusion transformer trained on handwritten digits\n`);
  const results = [];
  for (const bitWidth of [8, 4, 2]) {
    const outputPath = join(here, 'out', `digits-dit-int${bitWidth}`);
    results.push(
      await quantizeDiffusionModel({
        modelPath,
        outputPath,
        config: { bitWidth, overwrite: true },
        onProgress({ phase, layersDone, layersTotal, final }) {
          if (process.stdout.isTTY)
            process.stdout.write(
              final ? '\r\x1b[K' : `\r\x1b[K${bitWidth} bits: ${phase} ${layersDone}/${layersTotal}`,
            );
        },
      }),
    );
  }
  printTable(results.map(tableRow));
  for (const { bitWidth, warnings } of results)
    for (const { code, message } of warnings) console.log(`\nwarning at ${bitWidth} bits (${code}): ${message}`);

  console.log('\nThe outputs:');
  for (const { quantizedPath, manifestPath } of results)
    console.log(`  ${shown(quantizedPath)}  (report: ${shown(manifestPath)})`);
  console.log(`
diffusers opens them as they are (pip install torch diffusers sdnq):

  from diffusers import DiTTransformer2DModel
  model = DiTTransformer2DModel.from_pretrained("${shown(join(results[1].quantizedPath, 'transformer'))}")
`);
}

await main().catch((error) => {
  console.error(`\n${error.code ?? error.name}: ${error.message}`);
  process.exitCode = 1;
});
