/** The same functions as methods, for people who come from the Python package. */
import type { DiffusionQuantConfig } from './config/diffusion-quant-config.js';
import { optionPlace, refuseUnknown } from './config/entries.js';
import { IssueList } from './config/issues.js';
import type { ConfigInput, DeploymentProfile } from './config/options.js';
import { Place } from './config/place.js';
import { isPlainObject, readRecord } from './config/read-record.js';
import type { Weights } from './config/weights.js';
import { beginCall } from './errors/call-site.js';
import type { ProgressCallback } from './progress.js';
import { type QuantizeOptions, runInMemory } from './quantize.js';
import { type Mode, runQuantization } from './quantize-diffusion-model.js';
import type { InMemoryResult, QualityReport, QuantizationResult } from './results.js';
import { runValidation, type ValidateQualityOptions } from './validate-quality.js';

export interface ArrowQuantV2Options {
  /** `base` for models without a time axis. @defaultValue 'diffusion' */
  readonly mode?: Mode | undefined;
}

/**
 * A quantizer with a mode. It holds nothing else; jobs of one instance are independent.
 *
 * @example
 * const quantizer = new ArrowQuantV2({ mode: 'diffusion' });
 * await quantizer.quantizeDiffusionModel('./model', './model-int4', { bitWidth: 4 });
 */
export class ArrowQuantV2 {
  readonly mode: Mode;

  /** @throws ConfigurationError for an unknown mode or option */
  constructor(options: ArrowQuantV2Options = {}) {
    const issues = new IssueList();
    this.mode = readMode(options, issues);
    issues.throwIfAny(beginCall('ArrowQuantV2', new.target));
  }

  /**
   * Quantizes a model on disk; see the function of the same name.
   *
   * @param config - a profile name, options or a configuration; the profile 'local' when left out
   */
  async quantizeDiffusionModel(
    modelPath: string | URL,
    outputPath: string | URL,
    config?: ConfigInput,
    onProgress?: ProgressCallback,
    signal?: AbortSignal,
  ): Promise<QuantizationResult> {
    const call = beginCall('ArrowQuantV2.quantizeDiffusionModel', ArrowQuantV2.prototype.quantizeDiffusionModel);
    return runQuantization({ modelPath, outputPath, config, onProgress, signal }, this.mode, call);
  }

  /** Compares a quantized model on disk with its original; see the function of the same name. */
  async validateQuality(
    originalPath: string | URL,
    quantizedPath: string | URL,
    options?: ValidateQualityOptions,
  ): Promise<QualityReport> {
    const call = beginCall('ArrowQuantV2.validateQuality', ArrowQuantV2.prototype.validateQuality);
    return runValidation(originalPath, quantizedPath, options, call);
  }

  /** Quantizes tensors in memory; see the function of the same name. */
  async quantize(
    weights: Weights,
    options?: QuantizeOptions | DeploymentProfile | DiffusionQuantConfig,
  ): Promise<InMemoryResult> {
    return runInMemory(weights, options, beginCall('ArrowQuantV2.quantize', ArrowQuantV2.prototype.quantize));
  }
}

function readMode(options: unknown, issues: IssueList): Mode {
  const placeOf = optionPlace(issues);
  const place = new Place(issues, 'options', 'option', "Pass an object such as { mode: 'diffusion' }.");
  if (!isPlainObject(options)) {
    place.refuse('a plain object', options);
    return 'diffusion';
  }
  const values = readRecord(options, place, placeOf);
  for (const [name, value] of values) {
    if (name !== 'mode') refuseUnknown(name, value, placeOf(name), ['mode']);
  }
  const mode = values.get('mode') ?? (values.has('mode') ? null : 'diffusion');
  if (mode === 'diffusion' || mode === 'base') return mode;
  placeOf('mode').withHint("'base' is for models without a time axis.").refuse("'diffusion' or 'base'", mode);
  return 'diffusion';
}
