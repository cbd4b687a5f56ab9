/** What a user can meet: the message is one sentence that can be shown as it is. */
export class DipError extends Error {}
