// The block in the editor: its options, and a preview by the element that visitors see. Plain JavaScript, without a
// build step.
( function ( { blocks, blockEditor, components, element, i18n }, { script, lang, settings } ) {
	const { createElement: el, useEffect, useRef } = element;
	const { __ } = i18n;
	const { CheckboxControl, Disabled, PanelBody, Placeholder, SelectControl, TextControl, ToggleControl } = components;
	const TEXTS = [ 'ticker', 'currencies', 'lang', 'theme', 'layout', 'show' ];
	const VALUES = [ 'rate', 'buy', 'sell', 'change', 'percent' ];
	const words = ( text ) => text.toLowerCase().split( /[\s,]+/ ).filter( Boolean );
	// Newer versions of WordPress use these sizes for all controls, and report controls without these options.
	const newSizes = { __nextHasNoMarginBottom: true, __next40pxDefaultSize: true };

	function Preview( { attributes } ) {
		const box = useRef();
		useEffect( () => {
			// The editor may show the block in a frame: the script has to run in the document of the block.
			const { ownerDocument } = box.current;
			if ( ! ownerDocument.getElementById( 'currency-ticker-preview' ) ) {
				const node = ownerDocument.createElement( 'script' );
				Object.assign( node, { id: 'currency-ticker-preview', type: 'module', src: script } );
				ownerDocument.head.append( node );
			}
		}, [] );
		const given = { lang };
		for ( const name of TEXTS ) if ( attributes[ name ] ) given[ name ] = attributes[ name ];
		for ( const name of [ 'spark', 'live' ] ) if ( attributes[ name ] ) given[ name ] = '';
		return el( 'div', { ref: box }, el( 'currency-ticker', given ) );
	}

	function Controls( { attributes, setAttributes } ) {
		const common = ( name, label, help ) => ( {
			...newSizes,
			key: name,
			label,
			help,
			onChange: ( value ) => setAttributes( { [ name ]: value } ),
		} );
		const text = ( name, label, help ) => el( TextControl, { ...common( name, label, help ), value: attributes[ name ] } );
		const choice = ( name, label, options ) =>
			el( SelectControl, { ...common( name, label ), value: attributes[ name ], options } );
		const flag = ( name, label, help ) =>
			el( ToggleControl, { ...common( name, label, help ), checked: attributes[ name ] } );
		const shown = words( attributes.show );
		const labels = {
			rate: __( 'Rate', 'currency-ticker' ),
			buy: __( 'Buying rate', 'currency-ticker' ),
			sell: __( 'Selling rate', 'currency-ticker' ),
			change: __( 'Change', 'currency-ticker' ),
			percent: __( 'Change in percent', 'currency-ticker' ),
		};
		return el(
			PanelBody,
			{ title: __( 'Ticker', 'currency-ticker' ) },
			text( 'currencies', __( 'Currencies', 'currency-ticker' ), __( 'For example usd,eur. Empty: all.', 'currency-ticker' ) ),
			choice( 'layout', __( 'Layout', 'currency-ticker' ), [
				{ value: '', label: __( 'Strip', 'currency-ticker' ) },
				{ value: 'list', label: __( 'List', 'currency-ticker' ) },
				{ value: 'tape', label: __( 'Tape', 'currency-ticker' ) },
			] ),
			choice( 'theme', __( 'Theme', 'currency-ticker' ), [
				{ value: '', label: __( 'Automatic', 'currency-ticker' ) },
				{ value: 'light', label: __( 'Light', 'currency-ticker' ) },
				{ value: 'dark', label: __( 'Dark', 'currency-ticker' ) },
				{ value: 'transparent', label: __( 'Transparent', 'currency-ticker' ) },
				{ value: 'system', label: __( 'As in the visitor’s system', 'currency-ticker' ) },
			] ),
			el(
				'fieldset',
				{ key: 'show', style: { marginBottom: 24 } },
				el( 'legend', { style: { marginBottom: 8 } }, __( 'Values (none: those of the layout)', 'currency-ticker' ) ),
				...VALUES.map( ( name ) =>
					el( CheckboxControl, {
						...newSizes,
						key: name,
						label: labels[ name ],
						checked: shown.includes( name ),
						onChange: ( checked ) =>
							setAttributes( {
								show: VALUES.filter( ( value ) => ( value === name ? checked : shown.includes( value ) ) ).join( ',' ),
							} ),
					} )
				)
			),
			flag( 'spark', __( 'Sparklines', 'currency-ticker' ), __( 'In a list.', 'currency-ticker' ) ),
			flag( 'live', __( 'Live updates', 'currency-ticker' ) ),
			text( 'lang', __( 'Language', 'currency-ticker' ), __( 'For example kk. Empty: that of the page.', 'currency-ticker' ) ),
			text( 'ticker', __( 'Ticker', 'currency-ticker' ), __( 'Its id in the service. Empty: the first.', 'currency-ticker' ) )
		);
	}

	function Missing() {
		return el(
			Placeholder,
			{
				icon: 'money-alt',
				label: __( 'Currency Ticker', 'currency-ticker' ),
				instructions: __( 'The URL of the service is not set yet. An administrator can set it.', 'currency-ticker' ),
			},
			settings && el( 'a', { href: settings, target: '_blank' }, __( 'Settings', 'currency-ticker' ) )
		);
	}

	blocks.registerBlockType( 'currency-ticker/ticker', {
		edit( props ) {
			const frame = blockEditor.useBlockProps();
			if ( ! script ) return el( 'div', frame, el( Missing ) );
			return el(
				'div',
				frame,
				el( blockEditor.InspectorControls, null, el( Controls, props ) ),
				el( Disabled, null, el( Preview, props ) )
			);
		},
		// The server renders the block.
		save: () => null,
	} );
} )( window.wp, window.currencyTicker || {} );
