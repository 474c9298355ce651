// Package nft owns one nftables table: published ports, address translation and the walls between bridges.
//
// Start reading at Table.
package nft
