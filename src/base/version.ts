/** Set by the build to the version in package.json; absent under the unit-test runner. */
declare const THIMBLE_VERSION: string | undefined;

export const VERSION: string = typeof THIMBLE_VERSION === "undefined" ? "development" : THIMBLE_VERSION;
