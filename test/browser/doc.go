// Package browser walks through the console of a whole running server as people
// do, in a real browser.
//
// It promises that what a person is told to do works, from the first link on. It
// trusts Debian's Chromium. It has tests only.
package browser
