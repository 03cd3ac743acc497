/** Why the output is as it is, in sentences: what was asked for, and which rules changed it. */
import type { LayerResult } from '../results.js';
import { plural } from './numbers.js';
import type { ReportedLayer, ReportedResult } from './report-data.js';

const ROLES: Readonly<Record<string, string>> = {
  time: 'every block depends on them',
  modulation: 'they scale whole activations by the time step',
};
const LAYOUTS: Readonly<Record<ReportedResult['layout'], string>> = {
  sdnq: 'which diffusers opens, and transformers after import sdnq',
  'compressed-tensors': 'which transformers opens',
  gguf: 'for diffusers, ComfyUI, stable-diffusion.cpp and llama.cpp',
  comfyui: 'which ComfyUI reads without a custom node',
  parquet: 'an archive that answers questions about layers',
  plain: 'decoded weights, for whatever opens the original',
};

export function reasonsOf(result: ReportedResult, layers: readonly ReportedLayer[]): string[] {
  const { deploymentProfile: profile, minAccuracy } = result.resolvedConfig;
  const asked = `${result.bitWidth} bits in groups of ${result.groupSize}`;
  const gate = minAccuracy === undefined ? '' : `, similarity of every layer at least ${minAccuracy}`;
  return [
    `Profile ${profile ?? 'local'}: ${asked}${gate}.`,
    `Layout ${result.layout}, ${LAYOUTS[result.layout]}.`,
    ...methodsOf(result.layers),
    ...widerOf(result, layers),
    ...rotatedOf(layers),
    ...raisedOf(layers),
    ...targetOf(result),
    ...skippedOf(result),
  ];
}

/** How codes were chosen, the commonest first. */
function methodsOf(layers: readonly LayerResult[]): string[] {
  const ways = layers.map(({ scheme, secondMoments: moments }) => {
    if (scheme.method === 'rtn') return 'rounded between minimum and maximum (rtn)';
    if (scheme.method === 'mse') return 'by a search of scale and zero (mse)';
    return moments?.inputs === 'computed' || moments?.inputs === 'sampled'
      ? 'by inputs that follow from the time embedding (gptq)'
      : 'by recorded inputs (gptq)';
  });
  if (ways.length === 0) return [];
  return [`Codes of ${listed(ways, 'layer')}.`];
}

/** Layers that began above the job's width. */
function widerOf(result: ReportedResult, layers: readonly ReportedLayer[]): string[] {
  const wider = layers.filter(({ firstBits }) => firstBits > result.bitWidth);
  const groups = new Map<string, { count: number; text: string }>();
  for (const { role, firstBits, block } of wider) {
    const why = ROLES[role];
    const named = why !== undefined;
    const subject = named ? `of role ${role}` : `of ${block === '' ? 'no block' : block}`;
    const text = `${subject} at ${firstBits} bits${named ? `: ${why}` : ''}`;
    const group = groups.get(text);
    if (group === undefined) groups.set(text, { count: 1, text });
    else group.count += 1;
  }
  const { protectBlocks, layerBitWidths } = result.resolvedConfig;
  // Where something else widens layers as well, which of them it was is not known here.
  const layout = result.warnings.some(({ code }) => code === 'AQ_WARN_LAYOUT_WIDTH');
  const others = layout || result.target !== null || Object.keys(layerBitWidths ?? {}).length > 0;
  const ruled = protectBlocks !== 'none' && !others;
  const all = [...groups.values()].sort((a, b) => b.count - a.count);
  const shown = all.slice(0, 4).map(({ count, text }, at) => `${at === 0 ? plural(count, 'layer') : count} ${text}`);
  if (shown.length === 0) return [];
  const more = all.length - shown.length;
  const rule = ruled && all.some(({ text }) => !text.startsWith('of role'));
  return [
    `Wider from the start: ${shown.join('; ')}${more > 0 ? `; and ${plural(more, 'group')} more` : ''}.`,
    ...(layout
      ? [`Some because layout ${result.layout} has no codes of the width asked for (AQ_WARN_LAYOUT_WIDTH below).`]
      : []),
    ...(rule ? ['Of these, blocks are wider because they decide the worst step (protectBlocks: auto).'] : []),
  ];
}

function rotatedOf(layers: readonly ReportedLayer[]): string[] {
  const rotated = layers.filter(({ rotation }) => rotation !== null).length;
  return rotated === 0 ? [] : [`${plural(rotated, 'layer')} rotated (Hadamard), where that lowers the error.`];
}

function raisedOf(layers: readonly ReportedLayer[]): string[] {
  const raised = layers.filter(({ outcome }) => outcome === 'raised');
  if (raised.length === 0) return [];
  const steps = raised.map(({ firstBits, bits }) => `from ${firstBits} to ${bits} bits`);
  return [`Raised because they missed the similarity asked for: ${listed(steps, 'layer')}.`];
}

function targetOf({ target }: ReportedResult): string[] {
  if (target === null) return [];
  const { targetMb, bitWidth, baseMb, plannedMb, steps } = target;
  const bought =
    steps.length === 0 ? '' : `; ${plural(steps.length, 'step')} of whole blocks later ${plannedMb.toFixed(2)} MB`;
  return [`Target ${targetMb} MB: at ${bitWidth} bits the plan takes ${baseMb.toFixed(2)} MB${bought}.`];
}

function skippedOf({ skipped, layers }: ReportedResult): string[] {
  return skipped.length === 0
    ? []
    : [
        `${plural(layers.length, 'layer')} in codes; ${plural(skipped.length, 'tensor or file', 'tensors and files')} left as they are or left out, each with its reason below.`,
      ];
}

/** `12 layers by this, 3 by that`. */
function listed(texts: readonly string[], unit: string): string {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  const sorted = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  return sorted.map(([text, count], at) => `${at === 0 ? plural(count, unit) : count} ${text}`).join(', ');
}
