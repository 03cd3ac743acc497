/** The first screen: what was done, what it cost, whether it is good enough, and why it is so. */
import { code, htmlName, htmlText } from '../html.js';
import { decibels, megabytes, plural, similarity } from '../numbers.js';
import type { ReportData } from '../report-data.js';

export function titleOf({ model }: ReportData): string {
  const name = model.classNames.length === 0 ? `A model of ${model.modality}` : model.classNames.join(', ');
  return `${name} at ${model.bitWidth} bits`;
}

export function summary(data: ReportData): string {
  const { model, size, quality, layers, worst, reasons, version } = data;
  const least = layers.find(({ name }) => name === worst[0]);
  const tiles = [
    tile('Weight files', [
      `${megabytes(size.originalMb).replace(' MB', '')} → ${megabytes(size.modelMb)}`,
      `${size.ratio.toFixed(2)} times smaller`,
    ]),
    tile('Bits a weight', [size.bitsPerWeight.toFixed(2), `${plural(layers.length, 'layer')} in codes`]),
    tile('Mean cosine of weights', [
      similarity(quality.cosineSimilarity),
      `SQNR ${decibels(quality.sqnrDb)}${quality.sqnrDb < 200 ? ' dB' : ''}`,
    ]),
    ...(least === undefined
      ? []
      : [tile('Worst layer', [similarity(least.similarity), `${code(least.name)}, by its ${least.measure}`])]),
    verdict(data),
  ];
  return (
    `<header><h1>${htmlText(titleOf(data))}</h1>` +
    `<p class="soft">Quantized by arrow-quant ${htmlName(version)}; ${htmlName(model.modality)}, layout ${htmlName(model.layout)}. ` +
    `Modality told by ${htmlName(model.modalitySource)}.</p></header>` +
    `<dl class="figures">${tiles.join('')}</dl>` +
    `<section aria-labelledby="why-title"><h2 id="why-title">Why it is so</h2>` +
    `<ul>${reasons.map((reason) => `<li>${htmlText(reason)}</li>`).join('')}</ul></section>`
  );
}

function tile(term: string, texts: readonly string[]): string {
  return `<div><dt>${term}</dt>${texts.map((text) => `<dd>${text}</dd>`).join('')}</div>`;
}

function verdict({ quality, layers }: ReportData): string {
  const { minAccuracy, below, raised } = quality;
  if (minAccuracy === null) return '';
  const how = raised === 0 ? 'none had to be raised' : `${raised} after being raised`;
  return below === 0
    ? tile('Against minAccuracy', [
        '<span class="good">reached</span>',
        `all ${plural(layers.length, 'layer')} at ${minAccuracy} or more, ${how}`,
      ])
    : tile('Against minAccuracy', [
        '<span class="alert">missed</span>',
        `${plural(below, 'layer')} of ${layers.length} under ${minAccuracy}`,
      ]);
}
