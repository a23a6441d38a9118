// Package demo tells a person, line by line, what a CYPHONIC network on a lab does: the demo that ends by itself, the
// network left running to look around in, and the table of measurements. It decides what to show; package overlay does it.
package demo
