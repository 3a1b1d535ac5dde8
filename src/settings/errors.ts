/** A setting that cannot be used. The message names the environment variable and what would be right. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError';
}
