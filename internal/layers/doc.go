// Package layers holds no program code: its tests enforce the layer rules of docs/ARCHITECTURE.md on the whole module,
// that is, who may import whom, which packages stay free of sockets, clocks and goroutines, and the size and naming
// rules of the house style. A rule that cannot be checked mechanically does not belong here.
package layers
