/** Errors as RFC 9457 has them: application/problem+json. */

import { STATUS_CODES } from 'node:http';
import { ERROR_CODES, explainError, isArrowQuantError } from '../../dist/index.js';

/** By class: whose fault it is. A client can change the first five; AbortError means that a result will never come. */
const STATUS_OF_CLASS = {
  ConfigurationError: 400,
  ModelNotFoundError: 404,
  MetadataError: 422,
  ShapeMismatchError: 422,
  ValidationError: 422,
  AbortError: 410,
  QuantizationError: 500,
};

/** Where the class says too little. */
const STATUS_OF_CODE = { AQ_OUTPUT_EXISTS: 409, AQ_OUTPUT_BUSY: 409, AQ_OUT_OF_DISK: 507, AQ_TIMEOUT: 504 };

const statusOf = ({ name, code, retryable }) =>
  STATUS_OF_CODE[code] ?? (retryable ? 503 : (STATUS_OF_CLASS[name] ?? 500));

/**
 * An error as a problem. `type` leads to what the service itself says of the code.
 * Messages and details hold paths of the server: a service for strangers leaves `detail` and `details` out.
 */
export function problemOf(error, base = '') {
  if (!isArrowQuantError(error)) {
    // Of the web framework: a route, a schema, a body that is no JSON. Others' messages are nobody's business.
    const status = error.statusCode ?? 500;
    return {
      type: 'about:blank',
      title: STATUS_CODES[status],
      status,
      detail: status < 500 ? error.message : undefined,
    };
  }
  const { name, code, title, message, hint, details, retryable, retryAfterMs } = error.toJSON();
  const problem = { type: `${base}/problems/${code}`, title, status: statusOf(error), detail: message };
  return { ...problem, class: name, code, hint, details, retryable, retryAfterMs };
}

export function sendProblem(reply, error) {
  const problem = problemOf(error, `${reply.request.protocol}://${reply.request.host}`);
  if (problem.retryAfterMs) reply.header('retry-after', Math.ceil(problem.retryAfterMs / 1000));
  return reply.code(problem.status).type('application/problem+json').send(problem);
}

/** What is behind a problem's `type`; undefined for a code that there is not. */
export const aboutProblem = (code) => (ERROR_CODES.includes(code) ? explainError(code) : undefined);
