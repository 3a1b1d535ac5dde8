/** A known outcome and the class it names, the same at training, at evaluation and when it arrives as an event. */

export type LabelValue = string | number | boolean;

/** The text of a class. */
export const classText = (value: LabelValue): string => String(value);

/**
 * Index of a label in the classes; undefined for one that they do not have. For the two classes of a boolean label 0 and 1
 * are understood as well, and for those of a number true and false.
 */
export function classIndexOf(value: LabelValue, classes: readonly string[]): number | undefined {
  const index = classes.indexOf(classText(value));
  if (index >= 0) return index;
  if (typeof value === 'number' && (value === 0 || value === 1) && classes.join() === 'false,true') return value;
  if (typeof value === 'boolean' && classes.join() === '0,1') return value ? 1 : 0;
  return undefined;
}
