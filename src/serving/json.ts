/**
 * JSON bodies with whole numbers beyond 2^53. `JSON.parse` would round them without a word, and an id or a key would become
 * another one; here they come as decimal texts, which the columns understand.
 */

/** A whole number that a double may not hold. Most bodies have none, and are parsed as they are. */
const LONG_WHOLE = /(?<![\d.])\d{16,}(?![\d.eE])/;
const TEXT_OR_LONG_WHOLE = /"(?:[^"\\]|\\.)*"|(?<![\d.eE+-])-?\d{16,}(?![\d.eE])/g;

/** @throws SyntaxError */
export function parseJson(text: string): unknown {
  if (!LONG_WHOLE.test(text)) return JSON.parse(text);
  const exact = text.replace(TEXT_OR_LONG_WHOLE, (token) =>
    token.startsWith('"') || Number.isSafeInteger(Number(token)) ? token : `"${token}"`,
  );
  return JSON.parse(exact);
}

const LONGEST_WHOLE = /^-?\d{16,40}$/;
export const isLongWhole = (value: unknown): value is string => typeof value === 'string' && LONGEST_WHOLE.test(value);
