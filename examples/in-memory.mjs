// Quantizes a tensor in memory and decodes it again in plain JavaScript, which is all there is to the format of codes.
//
//   node examples/in-memory.mjs

import { quantize } from '../dist/index.js';

const [rows, columns] = [64, 320];
const data = Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i) * Math.cos(i / 7) * 0.05);

/** `codes` packed lowest bits first in C order; one scale and zero for each group of each row. */
function decode({ codes, scales, zeros, bitWidth, groups, storedGroupSize, shape: [, width], parameters }) {
  const [perByte, mask, middle] = [8 / bitWidth, 2 ** bitWidth - 1, 2 ** (bitWidth - 1)];
  return Float32Array.from({ length: parameters }, (_, i) => {
    const code = (codes[Math.floor(i / perByte)] >> ((i % perByte) * bitWidth)) & mask;
    const group = Math.floor(i / width) * groups + Math.floor((i % width) / storedGroupSize);
    // Without zeros the scheme is symmetric: the middle code stands for 0.
    return zeros === undefined ? (code - middle) * scales[group] : code * scales[group] + zeros[group];
  });
}

function cosine(a, b) {
  let [ab, aa, bb] = [0, 0, 0];
  for (const [i, x] of a.entries()) {
    ab += x * b[i];
    aa += x * x;
    bb += b[i] * b[i];
  }
  return ab / Math.sqrt(aa * bb);
}

for (const bitWidth of [8, 4, 2])
  for (const symmetric of [false, true]) {
    const { layers } = await quantize({ w: { data, shape: [rows, columns] } }, { bitWidth, symmetric });
    const [layer] = layers;
    const kind = symmetric ? 'symmetric' : 'asymmetric';
    const figures = `${layer.bitsPerWeight.toFixed(2)} bits/weight, cosine ${layer.cosine.toFixed(6)}`;
    console.log(`${bitWidth} bits ${kind}: ${figures}, decoded here ${cosine(data, decode(layer)).toFixed(6)}`);
  }
