/** Results as a job gives them, made up: of any number of layers, with every kind of note, always the same. */
import type { LayerHistogram } from '../../src-ts/report/histograms.js';
import type { ReportedResult } from '../../src-ts/report/report-data.js';

type Layer = ReportedResult['layers'][number];

const PARTS = [
  ['attn.to_q', 'attention'],
  ['attn.to_k', 'attention'],
  ['attn.to_v', 'attention'],
  ['attn.to_out.0', 'attention'],
  ['ff.net.0.proj', 'mlp'],
  ['ff.net.2', 'mlp'],
  ['norm1.linear', 'modulation'],
  ['attn.add_k_proj', 'attention'],
  ['attn.add_q_proj', 'attention'],
  ['attn.add_v_proj', 'attention'],
] as const;

/** Digits that look like chance and are none. */
function wave(index: number): number {
  const value = Math.sin(index * 12.9898) * 43_758.5453;
  return value - Math.floor(value);
}

function layer(index: number, groups: number): Layer {
  const [part, role] = PARTS[index % PARTS.length] ?? PARTS[0];
  const bits = role === 'modulation' ? 8 : index % 41 === 3 ? 8 : 4;
  const raised = index % 41 === 3;
  const sqnrDb = (bits === 8 ? 44 : 20) + 6 * wave(index);
  const cosine = 1 - 10 ** (-sqnrDb / 10) / 2;
  const timeGroups = Array.from({ length: groups }, (_, group) => ({
    index: group,
    first: group * 50,
    last: group * 50 + 40,
    cosine: 1 - (1 - cosine) / (2 + group),
    sqnrDb: sqnrDb + group + 3 * wave(index * 31 + group),
  }));
  return {
    name: `transformer_blocks.${Math.floor(index / PARTS.length)}.${part}`,
    shape: [3072, role === 'mlp' ? 12_288 : 3072],
    parameters: 3072 * (role === 'mlp' ? 12_288 : 3072),
    role,
    outcome: raised ? 'raised' : 'quantized',
    scheme: {
      bits,
      groupSize: 64,
      storedGroupSize: 64,
      symmetric: false,
      method: groups > 0 ? 'gptq' : 'mse',
      scaleDtype: bits === 8 ? 'f16' : 'bf16',
      rotation: index % 7 === 0 ? 64 : null,
    },
    bitsPerWeight: bits + 0.5,
    cosine,
    sqnrDb,
    worstRowCosine: cosine - 0.002,
    maxAbsError: 0.01 + 0.01 * wave(index + 7),
    measure: groups > 0 ? 'output' : 'weights',
    similarity: groups > 0 ? Math.min(...timeGroups.map((group) => group.cosine)) : cosine,
    ...(groups > 0 ? { timeGroups } : {}),
    attempts: raised
      ? [
          { bitWidth: 4, similarity: 0.91 },
          { bitWidth: 8, similarity: cosine },
        ]
      : [{ bitWidth: bits, similarity: cosine }],
    ...(raised ? { fallback: { from: 4, to: 8 } as const } : {}),
  };
}

/** A job at 4 bits; `groups` of the time axis in every layer. */
export function madeResult(layers: number, groups = 0): ReportedResult {
  const all = Array.from({ length: layers }, (_, index) => layer(index, groups));
  const parameters = all.reduce((sum, one) => sum + one.parameters, 1e6);
  const raised = all.filter(({ outcome }) => outcome === 'raised');
  return {
    quantizedPath: '/absent',
    manifestPath: '/absent/arrow-quant.json',
    reportPath: '/absent/arrow-quant.json',
    modality: 'image',
    modalitySource: 'class FluxTransformer2DModel',
    layout: 'sdnq',
    bitWidth: 4,
    groupSize: 64,
    compressionRatio: 3.5,
    cosineSimilarity: 0.996,
    sqnrDb: 21.3,
    bitsPerWeight: 4.9,
    originalSizeMb: (parameters * 2) / 1e6,
    modelSizeMb: (parameters * 2) / 3.5e6,
    quantizationTimeS: 12.5,
    backend: { device: 'cpu', reason: 'no NVIDIA driver was found', simd: 'avx2', threads: 4 },
    components: [
      { name: 'transformer', className: 'FluxTransformer2DModel', quantized: true, layers, parameters },
      { name: 'vae', className: 'AutoencoderKL', quantized: false, layers: 0, parameters: 83_819_683 },
    ],
    layers: all,
    skipped: [
      { name: 'x_embedder', why: 'the first layer: its error goes through the whole network', bytes: 393_216 },
      { name: 'flux1-dev.safetensors', why: 'a weight file that the model does not load', bytes: 23_802_932_552 },
    ],
    target: null,
    retries: [{ op: 'read', path: '/m', errno: 'EIO', attempt: 1, delayMs: 50 }] as never,
    degradations: [],
    warnings: raised.map(({ name }) => ({
      code: 'AQ_WARN_BITS_RAISED',
      message: `Layer ${name} reached 0.9100 at 4 bits, under 0.9850, and is stored at 8 bits.`,
      details: { layer: name },
    })),
    resolvedConfig: {
      deploymentProfile: 'local',
      bitWidth: 4,
      groupSize: 64,
      minAccuracy: 0.985,
      protectBlocks: 'auto',
      layerBitWidths: {},
      skipLayers: [],
      numThreads: 4,
      calibration: '/absent/calibration.safetensors',
    },
  };
}

/** Histograms of some layers: a bell, and four values. */
export function madeHistograms(names: readonly string[]): LayerHistogram[] {
  const bell = Array.from({ length: 64 }, (_, bin) => Math.round(1000 * Math.exp(-(((bin - 31.5) / 14) ** 2))));
  const weights = bell.reduce((sum, one) => sum + one, 0);
  const quantized = bell.map((_, bin) => (bin % 16 === 8 ? Math.floor(weights / 4) : 0));
  return names.map((name) => ({
    name,
    low: -0.1,
    high: 0.1,
    original: bell,
    quantized,
    error: { low: -0.03, high: 0.03, counts: bell },
    weights,
  }));
}
