// Package repository reads the files of one commit from a git server: over
// https, over ssh with a known host key, or over http on loopback. It keeps
// nothing on disk and starts no program.
//
// The server is not trusted: what it sends is bounded in time, bytes, objects
// and files before it is unpacked, symbolic links and submodules are passed
// over, and names that could mean another place are refused.
//
// The package must not know resources: it returns a commit and a file system.
package repository
