// A step of a CI job: exits with 1 where a quantized model is not good enough.
//
//   node examples/ci-check.mjs [LEAST_COSINE [ORIGINAL QUANTIZED]]
//
// Without a model it quantizes the example first. `arrow-quant validate` does the comparison without a script.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { quantizeDiffusionModel, validateQuality } from '../dist/index.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const [least = '0.985', original = join(here, 'digits-dit'), quantized = join(here, 'out', 'ci-check')] =
  process.argv.slice(2);

try {
  if (process.argv.length < 5) {
    // 0 switches the job's own gate off: this script is the gate.
    const config = { bitWidth: 4, minAccuracy: 0, overwrite: true };
    await quantizeDiffusionModel({ modelPath: original, outputPath: quantized, config });
  }
  const report = await validateQuality(original, quantized, { minAccuracy: Number(least) });
  for (const { name, cosine, sqnrDb, passed } of report.layers)
    if (!passed) console.log(`below ${report.threshold}: ${name}  cosine ${cosine.toFixed(5)}  ${sqnrDb.toFixed(1)} dB`);

  const { layers, failed, worstLayer, compressionRatio } = report;
  console.log(`${layers.length} layers compared, ${failed.length} below; ${compressionRatio.toFixed(2)} times smaller`);
  if (worstLayer !== null) console.log(`worst: ${worstLayer.name}  cosine ${worstLayer.cosine.toFixed(5)}`);
  // Nothing compared is no success: the second folder may be the original itself.
  process.exitCode = report.passed && layers.length > 0 ? 0 : 1;
} catch (error) {
  console.error(`${error.code ?? error.name}: ${error.message}`);
  process.exitCode = 1;
}
