/** Texts and names that others must find again. Pure. */

/** What no database and no other language keeps as it is: NUL, and halves of surrogate pairs. */
export const isKeepable = (text: string): boolean => !text.includes('\0') && !/\p{Surrogate}/u.test(text);

/** Names of columns: upper and lower case are the same. */
export const sameName = (one: string, other: string): boolean => one.toLowerCase() === other.toLowerCase();
