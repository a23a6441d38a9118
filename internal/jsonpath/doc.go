// Package jsonpath reads and evaluates the templates of `cyphonicctl get -o jsonpath=…`: text with expressions in braces, with the meaning that kubectl gives them. It
// works on decoded JSON and must know nothing of resources, files or managers.
//
//	template    = { text | "{" ( path | string | "range" path | "end" ) "}" }
//	path        = [ "$" | "@" ] { "." name | ".*" | ".." name | ".." "*" | "[" selection "]" | ".." "[" selection "]" }
//	selection   = "*" | "?(" condition ")" | item { "," item }
//	item        = index | [ first ] ":" [ end ] [ ":" step ] | "'" name "'"
//	condition   = all { "||" all };  all = term { "&&" term };  term = [ "!" ] ( path | "(" condition ")" ) | operand ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) operand
//	operand     = path | string | number | "true" | "false" | "null"
//
// A backslash keeps the next letter of a name from having a meaning, as in .metadata.labels.example\.org/site. What a path does not find is nothing, not an error.
package jsonpath
