/** The `file:/absolute/path` addresses of local stores. The path is plain text: nothing in it is percent-decoded. */

export function pathOfFileUrl(url: string, what: string): string {
  const path = url.startsWith('file:') ? url.slice('file:'.length).replace(/^\/\/(?=\/)/, '') : '';
  // The value is not repeated: an address may hold a password.
  if (!path.startsWith('/'))
    throw new Error(`the address of the ${what} is none that this version can open; write file:/absolute/path`);
  return path;
}
