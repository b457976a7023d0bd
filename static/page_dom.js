// Finding and cloning parts of the page.

export const find = (selector, within = document) => within.querySelector(selector);
export const clone = (id) => find(id).content.firstElementChild.cloneNode(true);
