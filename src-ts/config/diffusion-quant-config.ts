/** The checked, frozen configuration. */
import { beginCall } from '../errors/call-site.js';
import {
  checkTogether,
  ENTRIES,
  type Entries,
  givenValues,
  mergeEntries,
  optionPlace,
  readConfig,
  resolveValues,
} from './entries.js';
import { readEnvironment } from './environment.js';
import { IssueList } from './issues.js';
import { OPTION_NAMES } from './option-table.js';
import type {
  BitWidth,
  ConfigInput,
  DeploymentProfile,
  DiffusionQuantOptions,
  GgufNames,
  GgufType,
  GroupSize,
  Layout,
  LogLevel,
  Method,
  Modality,
  PlainDtype,
} from './options.js';
import { readPath } from './paths.js';
import { Place } from './place.js';
import { readYamlFile } from './yaml-file.js';

/**
 * Options, checked when they are made and frozen. Properties are the values that hold (given ones, else the
 * profile's); `given` is only what was set.
 *
 * @example
 * const config = new DiffusionQuantConfig({ bitWidth: 4, groupSize: 64 });
 */
export class DiffusionQuantConfig implements DiffusionQuantOptions {
  declare readonly bitWidth: BitWidth;
  declare readonly groupSize: GroupSize;
  declare readonly numTimeGroups: number;
  declare readonly minAccuracy: number;
  declare readonly modality: Modality | undefined;
  declare readonly deploymentProfile: DeploymentProfile;
  declare readonly calibration: string | undefined;
  declare readonly calibrationSamples: number;
  declare readonly enableTimeAware: boolean;
  declare readonly enableSpatial: boolean;
  declare readonly symmetric: boolean;
  declare readonly failFast: boolean;
  declare readonly overwrite: boolean;
  declare readonly method: Method;
  declare readonly layout: Layout | readonly Exclude<Layout, 'auto'>[];
  declare readonly ggufNames: GgufNames | undefined;
  declare readonly ggufType: GgufType | undefined;
  declare readonly plainDtype: PlainDtype | undefined;
  declare readonly protectBlocks: 'auto' | 'none';
  declare readonly partition: string | undefined;
  declare readonly components: readonly string[] | undefined;
  declare readonly layerBitWidths: Readonly<Record<string, BitWidth | 16>>;
  declare readonly skipLayers: readonly string[];
  declare readonly enableMixedPrecision: boolean;
  declare readonly targetModelSizeMb: number | undefined;
  declare readonly nonFinite: 'error' | 'keep';
  declare readonly resume: boolean;
  declare readonly maxMemoryLimitMb: number;
  declare readonly device: NonNullable<DiffusionQuantOptions['device']>;
  declare readonly deviceFallback: boolean;
  declare readonly ioRetries: number;
  declare readonly timeoutMs: number | undefined;
  declare readonly stallTimeoutMs: number;
  declare readonly logLevel: LogLevel;
  declare readonly numThreads: number;
  /** Only what was set, by whatever source; the rest comes from the profile. */
  declare readonly given: Readonly<DiffusionQuantOptions>;
  /** Name, value and source of each given option. */
  declare readonly [ENTRIES]: readonly (readonly [string, unknown, string])[];

  /**
   * @param options - a profile name, options, or another configuration
   * @throws ConfigurationError that lists everything wrong with them
   */
  constructor(options: ConfigInput = {}) {
    const issues = new IssueList();
    const entries = readConfig(options, issues);
    checkTogether(entries, optionPlace(issues));
    issues.throwIfAny(beginCall('DiffusionQuantConfig', new.target));

    const resolved = resolveValues(entries);
    for (const name of OPTION_NAMES) {
      Object.defineProperty(this, name, { value: resolved[name], enumerable: true });
    }
    const triples = [...entries].map(([name, { value, source }]) => Object.freeze([name, value, source] as const));
    Object.defineProperty(this, 'given', { value: Object.freeze(givenValues(entries)) });
    Object.defineProperty(this, ENTRIES, { value: Object.freeze(triples) });
    Object.freeze(this);
  }

  /**
   * The defaults of a profile.
   *
   * @throws ConfigurationError for any other name
   */
  static fromProfile(profile: DeploymentProfile): DiffusionQuantConfig {
    const issues = new IssueList();
    const entries = readProfile(profile, issues);
    issues.throwIfAny(beginCall('DiffusionQuantConfig.fromProfile', DiffusionQuantConfig.fromProfile));
    return fromEntries(entries);
  }

  /**
   * Options from a YAML file: a mapping of the option names. They yield to the environment and to the call.
   *
   * @param path - path or file: URL
   * @throws ConfigurationError with file, line and column in the path of each issue
   */
  static fromYaml(path: string | URL): DiffusionQuantConfig {
    const call = beginCall('DiffusionQuantConfig.fromYaml', DiffusionQuantConfig.fromYaml);
    const issues = new IssueList();
    const file = readPath(path, new Place(issues, 'path'));
    issues.throwIfAny(call);
    const entries = file === undefined ? new Map() : readYamlFile(file, issues);
    issues.throwIfAny(call);
    return fromEntries(entries);
  }

  /**
   * Options from `ARROW_QUANT_<OPTION>` variables (`ARROW_QUANT_BIT_WIDTH=4`), over those of `base` that come from a
   * file and under those given in code.
   *
   * @param base - what the variables are added to
   * @throws ConfigurationError for a variable that is no option or does not parse
   */
  static fromEnv(base?: ConfigInput): DiffusionQuantConfig {
    const issues = new IssueList();
    const parts = [readConfig(base, issues), readEnvironment(process.env, issues)];
    const entries = mergeEntries(parts, optionPlace(issues));
    issues.throwIfAny(beginCall('DiffusionQuantConfig.fromEnv', DiffusionQuantConfig.fromEnv));
    return fromEntries(entries);
  }

  /** All values that hold, as a plain object; a configuration made of it behaves the same. */
  toJSON(): DiffusionQuantOptions {
    return Object.fromEntries(Object.entries(this).filter(([, value]) => value !== undefined));
  }
}

/** A configuration of entries that keep their sources. */
export function fromEntries(entries: Entries): DiffusionQuantConfig {
  const carrier = { [ENTRIES]: [...entries].map(([name, { value, source }]) => [name, value, source]) };
  return new DiffusionQuantConfig(carrier as unknown as DiffusionQuantOptions);
}

function readProfile(profile: unknown, issues: IssueList): Entries {
  const values: unknown = { deploymentProfile: profile ?? null };
  if (profile === undefined) {
    new Place(issues, 'deploymentProfile').refuse("'edge', 'local' or 'cloud'", undefined);
    return new Map();
  }
  return readConfig(values, issues);
}
