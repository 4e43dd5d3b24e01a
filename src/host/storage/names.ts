/** Names of images: one path component each, so that no name leads out of the datastore. */
export const IMAGE_NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/;

export const IMAGE_NAME_RULE = 'must be 1 to 64 letters, digits, ".", "_" or "-", and not begin with a dot';
