/** Size and error by component, and by what layers are for. */

import { quantile, rounded } from './numbers.js';
import type { OutputFolder } from './output-folder.js';
import type { ReportedLayer, ReportedResult } from './report-data.js';

export interface ReportedComponent {
  readonly name: string;
  readonly className: string | null;
  readonly quantized: boolean;
  readonly layers: number;
  readonly parameters: number;
  /** Of its weight files; null where they are carried over or not known. */
  readonly modelMb: number | null;
  /** Known where it is the only one that was quantized. */
  readonly originalMb: number | null;
  /** Mean over its layers, weighted by parameters; null without layers. */
  readonly cosine: number | null;
  readonly worst: { readonly name: string; readonly similarity: number } | null;
}

export interface ReportedRole {
  /** null: what has no codes. */
  readonly role: string | null;
  readonly layers: number;
  readonly parameters: number;
  readonly mb: number;
  readonly bitsPerWeight: number | null;
  /** SQNR of the weights. */
  readonly sqnrDb: { readonly least: number; readonly median: number; readonly most: number } | null;
  readonly leastSimilarity: number | null;
}

export function componentsOf(
  result: ReportedResult,
  layers: readonly ReportedLayer[],
  folder: OutputFolder,
): ReportedComponent[] {
  const only = result.components.filter(({ quantized }) => quantized).length === 1;
  return result.components.map(({ name, className, quantized, layers: number, parameters }) => {
    const own = quantized ? layers.filter(({ component }) => only || component === name) : [];
    const files = folder.files.filter((file) => name !== '' && file.name.startsWith(`${name}/`));
    const written = files.reduce((sum, { bytes }) => sum + bytes, 0) / 1e6;
    const worst = own.reduce<ReportedLayer | null>((a, b) => (a === null || b.similarity < a.similarity ? b : a), null);
    const weights = own.reduce((sum, layer) => sum + layer.parameters, 0);
    const cosine = own.reduce((sum, layer) => sum + layer.cosine * layer.parameters, 0) / weights;
    return {
      name,
      className,
      quantized,
      layers: number,
      parameters,
      modelMb: only && quantized ? result.modelSizeMb : quantized && files.length > 0 ? written : null,
      originalMb: only && quantized ? result.originalSizeMb : null,
      cosine: own.length === 0 ? null : rounded(cosine),
      worst: worst === null ? null : { name: worst.name, similarity: worst.similarity },
    };
  });
}

/** Largest first; what stays in float last. */
export function rolesOf(result: ReportedResult, layers: readonly ReportedLayer[]): ReportedRole[] {
  const names = [...new Set(layers.map(({ role }) => role))];
  const roles = names.map((role): ReportedRole => {
    const own = layers.filter((layer) => layer.role === role);
    const parameters = own.reduce((sum, layer) => sum + layer.parameters, 0);
    const bits = own.reduce((sum, layer) => sum + layer.bitsPerWeight * layer.parameters, 0);
    const sorted = own.map(({ sqnrDb }) => sqnrDb).sort((a, b) => a - b);
    return {
      role,
      layers: own.length,
      parameters,
      mb: rounded(bits / 8e6),
      bitsPerWeight: rounded(bits / parameters),
      sqnrDb: { least: quantile(sorted, 0), median: rounded(quantile(sorted, 0.5)), most: quantile(sorted, 1) },
      leastSimilarity: own.reduce((least, { similarity }) => Math.min(least, similarity), 1),
    };
  });
  roles.sort((a, b) => b.mb - a.mb || ((a.role ?? '') < (b.role ?? '') ? -1 : 1));
  const coded = roles.reduce((sum, { mb }) => sum + mb, 0);
  const all = result.components.filter(({ quantized }) => quantized);
  const parameters = all.reduce((sum, one) => sum + one.parameters, 0);
  const rest = parameters - roles.reduce((sum, one) => sum + one.parameters, 0);
  const float: ReportedRole = {
    role: null,
    layers: 0,
    parameters: Math.max(0, rest),
    mb: rounded(Math.max(0, result.modelSizeMb - coded)),
    bitsPerWeight: null,
    sqnrDb: null,
    leastSimilarity: null,
  };
  return [...roles, float];
}
