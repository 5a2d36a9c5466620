package sso

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// Bounds on XML of other parties. A person in MaxGroups groups needs a thousand
// elements; a federation's metadata needs more.
const (
	maxDepth      = 40
	maxElements   = 5000
	maxDescribed  = 50000 // elements of metadata
	maxAttributes = 64    // of one element
	maxAttributed = 2     // of an element, on average, beyond 1000
)

// Namespaces of SAML 2.0, XML signatures and XML encryption.
const (
	nsProtocol  = "urn:oasis:names:tc:SAML:2.0:protocol"
	nsAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsMetadata  = "urn:oasis:names:tc:SAML:2.0:metadata"
	nsSignature = "http://www.w3.org/2000/09/xmldsig#"
	nsEncrypt   = "http://www.w3.org/2001/04/xmlenc#"
	nsEncrypt11 = "http://www.w3.org/2009/xmlenc11#"
)

// parseXML reads a document that has one meaning for every parser: no document
// type (so no entities but the five of XML), no processing instructions, no
// comments (they split the text of an element, and canonicalization drops
// them), no attribute twice, no undeclared prefix, no colon but the one after a
// prefix (encoding/xml would write such a name differently than it read it), no
// ID twice, nothing after the root. Metadata may hold comments, and more
// elements: nothing in it is signed for us.
func parseXML(data []byte, metadata bool) (*etree.Element, error) {
	if err := scanXML(data, metadata); err != nil {
		return nil, err
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(data); err != nil {
		return nil, fmt.Errorf("the document is not XML: %v", err)
	}
	root := doc.Root()
	if root == nil || len(doc.ChildElements()) != 1 {
		return nil, errors.New("the document has no root")
	}
	ids := map[string]bool{}
	var bad error
	walk(root, func(el *etree.Element) {
		if el.Space != "" && el.NamespaceURI() == "" {
			bad = errors.New("a prefix is not declared")
		}
		for _, a := range el.Attr {
			if strings.EqualFold(a.Key, "id") && a.Space != "xmlns" {
				if ids[a.Value] {
					bad = errors.New("two elements have the same ID")
				}
				ids[a.Value] = true
			}
		}
	})
	return root, bad
}

// scanXML reads the tokens of a document and bounds them, before any tree of
// it is built.
func scanXML(data []byte, metadata bool) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	depth, elements, attributes, roots := 0, 0, 0, 0
	most := maxElements
	if metadata {
		most = maxDescribed
	}
	for first := true; ; first = false {
		t, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("the document is not XML: %v", err)
		}
		switch t := t.(type) {
		case xml.Directive:
			return errors.New("the document declares a type or entities")
		case xml.ProcInst:
			if t.Target != "xml" || !first {
				return errors.New("the document holds a processing instruction")
			}
		case xml.Comment:
			if !metadata {
				return errors.New("the document holds a comment")
			}
		case xml.CharData:
			if depth == 0 && len(bytes.TrimSpace(t)) > 0 {
				return errors.New("the document has text outside of its root")
			}
		case xml.StartElement:
			if depth == 0 {
				roots++
			}
			depth++
			elements++
			attributes += len(t.Attr)
			if depth > maxDepth || elements > most || attributes > 1000+maxAttributed*most || roots > 1 {
				return errors.New("the document is too deep, or has too many elements, attributes or roots")
			}
			if err := checkNamesOf(t); err != nil {
				return err
			}
		case xml.EndElement:
			depth--
		}
	}
	if roots != 1 {
		return errors.New("the document has no root")
	}
	return nil
}

func checkNamesOf(el xml.StartElement) error {
	if len(el.Attr) > maxAttributes {
		return errors.New("an element has too many attributes")
	}
	if strings.Contains(el.Name.Local, ":") {
		return errors.New("the name of an element has a colon in a wrong place")
	}
	for i, a := range el.Attr {
		if strings.Contains(a.Name.Local, ":") {
			return errors.New("the name of an attribute has a colon in a wrong place")
		}
		for _, b := range el.Attr[:i] {
			if a.Name == b.Name {
				return errors.New("an element has an attribute twice")
			}
		}
	}
	return nil
}

// walk visits an element and all below it.
func walk(el *etree.Element, visit func(*etree.Element)) {
	visit(el)
	for _, c := range el.ChildElements() {
		walk(c, visit)
	}
}

// is tells whether an element has a name.
func is(el *etree.Element, ns, tag string) bool {
	return el != nil && el.Tag == tag && el.NamespaceURI() == ns
}

// children returns the direct children with a name.
func children(el *etree.Element, ns, tag string) (out []*etree.Element) {
	for _, c := range el.ChildElements() {
		if is(c, ns, tag) {
			out = append(out, c)
		}
	}
	return out
}

// only returns the one child with a name.
func only(el *etree.Element, ns, tag string) (*etree.Element, error) {
	all := children(el, ns, tag)
	if len(all) != 1 {
		return nil, fmt.Errorf("%s holds %d elements %s, not one", el.Tag, len(all), tag)
	}
	return all[0], nil
}

// attr returns the value of an attribute without a prefix, or "".
func attr(el *etree.Element, key string) string {
	for _, a := range el.Attr {
		if a.Space == "" && a.Key == key {
			return a.Value
		}
	}
	return ""
}

// text returns the whole text of an element that holds nothing but text.
func text(el *etree.Element) (string, bool) {
	var b strings.Builder
	for _, c := range el.Child {
		data, ok := c.(*etree.CharData)
		if !ok {
			return "", false
		}
		b.WriteString(data.Data)
	}
	return strings.TrimSpace(b.String()), true
}

// instant reads an xs:dateTime, which SAML Core section 1.3.3 wants in UTC. An
// absent one is the zero time.
func instant(el *etree.Element, key string) (time.Time, error) {
	v := attr(el, key)
	if v == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil || len(v) > 40 {
		return time.Time{}, fmt.Errorf("%s of %s is not a moment in UTC", key, el.Tag)
	}
	return t, nil
}
