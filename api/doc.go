// Package api is the vocabulary of CYPHONIC: the resource types, generated from openapi/, with what a schema cannot say written by hand: the registry of kinds,
// strict decoding, defaulting, validation. One file per kind.
//
// It imports the standard library only and does no I/O, so that every program may use it. It must not know where resources are stored nor how they are sent.
//
// Faults are reported as FieldErrors: every fault of a document at once, each with the JSON pointer of the field and what would be right.
package api
