/** Tensors as callers pass them to `quantize()`. */
import { types } from 'node:util';
import { type CallInfo, createError } from '../errors/create.js';
import { displayName } from '../errors/text.js';
import { internalError } from '../errors/throw-native.js';
import { refuseUnknown } from './entries.js';
import { IssueList } from './issues.js';
import { Place } from './place.js';
import { isArray, isPlainObject, readArray, readRecord } from './read-record.js';

/** A Float32Array alone is one row. */
export type Weights = Readonly<
  Record<string, Float32Array | { readonly data: Float32Array; readonly shape: readonly number[] }>
>;

const HINT = 'Pass a Float32Array, or { data, shape } with one; convert other arrays first.';
// Far beyond any tensor; it keeps a made-up length from being allocated.
const MAX_EXTENTS = 1_000;
const SHAPE_EXPECTED = 'an array of integers of at least 0';

/**
 * Checks one tensor.
 *
 * @throws ConfigurationError for a wrong type; ShapeMismatchError where the shape's product is not the length
 */
export function readTensor(name: string, value: unknown, call: CallInfo): { data: Float32Array; shape: number[] } {
  const issues = new IssueList();
  const place = new Place(issues, 'weights', 'option', HINT).child(name);
  const tensor = types.isFloat32Array(value)
    ? { data: readData(value, place), shape: [1, value.length] }
    : readParts(value, place);
  issues.throwIfAny(call);
  const { data, shape } = tensor ?? {};
  if (data === undefined || shape === undefined) throw internalError('a tensor was refused without a reason', call);

  const product = shape.reduce((size, extent) => size * extent, 1);
  if (product !== data.length) throw mismatch(name, shape, data.length, call);
  return { data, shape };
}

function readParts(value: unknown, place: Place) {
  if (!isPlainObject(value)) return place.refuse('a Float32Array', value);
  const partPlace = (key: string) => place.at(`${place.path}.${key}`);
  const parts = readRecord(value, place, partPlace);
  for (const [key, part] of parts) {
    if (key !== 'data' && key !== 'shape') refuseUnknown(key, part, partPlace(key), ['data', 'shape']);
  }
  const data = readData(parts.get('data'), partPlace('data'));
  return { data, shape: readShape(parts.get('shape'), partPlace('shape')) };
}

function readData(data: unknown, place: Place): Float32Array | undefined {
  if (!types.isFloat32Array(data)) return place.refuse('a Float32Array', data);
  if (isDetached(data.buffer)) return place.refuse('a Float32Array', data, { received: 'a detached Float32Array' });
  // Another thread may write into shared memory while it is copied; a private copy is at least one fixed state.
  return types.isSharedArrayBuffer(data.buffer) ? new Float32Array(data) : data;
}

function readShape(shape: unknown, place: Place): number[] | undefined {
  if (!isArray(shape)) return place.refuse(SHAPE_EXPECTED, shape);
  const extents = readArray(shape, place, MAX_EXTENTS, () => place.refuse(SHAPE_EXPECTED, shape));
  if (extents === undefined) return undefined;
  if (!extents.every((extent) => Number.isSafeInteger(extent) && (extent as number) >= 0)) {
    return place.refuse(SHAPE_EXPECTED, shape);
  }
  return extents as number[];
}

function isDetached(buffer: ArrayBufferLike): boolean {
  if (buffer.byteLength > 0) return false;
  try {
    new Uint8Array(buffer);
    return false;
  } catch {
    return true;
  }
}

function mismatch(name: string, expected: number[], length: number, call: CallInfo) {
  return createError(
    'AQ_SHAPE_MISMATCH',
    {
      sentence: `Shape mismatch for ${displayName(name)}: expected [${expected.join(', ')}], got [${length}].`,
      actions: ["The shape's product must equal the number of values."],
      details: { subject: 'buffer', name, expected, actual: [length] },
      layer: name,
    },
    call,
  );
}
