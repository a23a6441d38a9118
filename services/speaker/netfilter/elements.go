package netfilter

import (
	"fmt"
	"net/netip"
	"strings"
)

// elementTexts writes elements of nft's JSON as this program writes them; nil if one cannot be.
func elementTexts(elements []any) []string {
	texts := []string{}
	for _, element := range elements {
		text, ok := elementText(element)
		if !ok {
			return nil
		}
		texts = append(texts, text)
	}
	return sorted(texts)
}

// elementText is a key, or a pair of a key and a verdict.
func elementText(element any) (string, bool) {
	pair, ok := element.([]any)
	if !ok {
		return keyText(element)
	}
	if len(pair) != 2 {
		return "", false
	}
	key, ok := keyText(pair[0])
	verdict, isVerdict := verdictText(pair[1])
	return key + " : " + verdict, ok && isVerdict
}

func verdictText(verdict any) (string, bool) {
	object, _ := verdict.(map[string]any)
	if _, ok := object["accept"]; ok {
		return "accept", true
	}
	to, _ := object["goto"].(map[string]any)
	chain, ok := to["target"].(string)
	return "goto " + chain, ok
}

// keyText is an address, a number, or several of them.
func keyText(key any) (string, bool) {
	switch key := key.(type) {
	case float64:
		return fmt.Sprint(int64(key)), true
	case string:
		if number, ok := map[string]string{"tcp": "6", "udp": "17"}[key]; ok {
			return number, true
		}
		address, err := netip.ParseAddr(key)
		return address.String(), err == nil
	case map[string]any:
		parts, ok := key["concat"].([]any)
		texts := make([]string, len(parts))
		for i, part := range parts {
			text, plain := keyText(part)
			texts[i], ok = text, ok && plain
		}
		return strings.Join(texts, " . "), ok && len(parts) > 0
	}
	return "", false
}
