/** A small seeded generator (sfc32), so that a resample repeats on every machine. */

export type Random = {
  /** A whole number in [0, bound); bound at most 2^31. */
  readonly below: (bound: number) => number;
};

export function seededRandom(seed: number): Random {
  let a = seed >>> 0;
  let b = Math.floor(seed / 4_294_967_296) >>> 0;
  let c = 0x9e3779b9;
  let counter = 1;
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + sum) | 0;
    return sum >>> 0;
  };
  // The first outputs still resemble the seed.
  for (let warmUp = 0; warmUp < 16; warmUp += 1) next();
  return { below: (bound) => Math.floor((next() * bound) / 4_294_967_296) };
}
