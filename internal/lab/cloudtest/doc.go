// Package cloudtest tests clouds of equal replicas behind routers, and measures them: what leaves, dies, is cut off or
// comes back must cost devices nothing, or no more than stated. It holds no program code.
//
// One cloud serves all tests of failures, in the order of the files; each test leaves it as it found it. The evaluations
// (files eval_*) run only when asked for, because they take long.
package cloudtest
