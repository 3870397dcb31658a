"""The sentences that planted dirt is made of: contexts of personal data, other languages, boilerplate."""
# ruff: noqa: RUF001  letters of other alphabets are the point

PII_SENTENCES = {
    "email": (
        "You can write to me at {}.", "My address is {}, please answer there.", "Send the receipt to {} instead.",
        "I signed up as {}", "e-mail: {}",
    ),
    "phone": (
        "Call me back on {}.", "My phone number is {} if you need it.", "You reach me at {} after six.",
        "Text {} when it is done.", "Tel. {}",
    ),
    "iban": (
        "The money should go to {}.", "My IBAN is {}, by the way.", "I sent it to {} yesterday.", "Account: {}",
    ),
    "card": (
        "The number on it is {}.", "I paid with card {} on Monday.", "My card {} is the one I mean.", "Card no. {}",
    ),
    "ip": (
        "I was logged in from {}.", "Your page says my address is {}.", "The alert names {}, which is not me.",
    ),
    "url": (
        "I got this link: {}", "When I open {} nothing happens.", "The app sent me to {} and stopped.",
    ),
}  # fmt: skip

FOREIGN = {
    "de": ("Warum wurde meine Überweisung noch nicht ausgeführt?", "Ich habe meine Karte gestern verloren.",
           "Bitte sperren Sie das Konto sofort.", "Wie lange dauert die Lieferung nach Österreich?",
           "Der Automat hat mein Geld behalten."),
    "fr": ("Pourquoi mon virement n'est-il pas encore arrivé ?", "J'ai perdu ma carte hier soir dans le métro.",
           "Merci de bloquer mon compte tout de suite.", "Combien de temps faut-il pour recevoir la carte ?",
           "Le distributeur a gardé mon argent."),
    "es": ("¿Por qué todavía no ha llegado mi transferencia?", "Ayer perdí mi tarjeta en el autobús.",
           "Por favor, bloqueen la cuenta cuanto antes.", "¿Cuánto tarda en llegar la tarjeta nueva?",
           "El cajero se quedó con mi dinero."),
    "it": ("Perché il mio bonifico non è ancora arrivato?", "Ieri ho perso la carta in treno.",
           "Vi prego di bloccare subito il conto.", "Quanto tempo ci vuole per ricevere la carta nuova?",
           "Lo sportello ha trattenuto i miei soldi."),
    "nl": ("Waarom is mijn overschrijving nog niet aangekomen?", "Gisteren ben ik mijn pas kwijtgeraakt.",
           "Wilt u de rekening meteen blokkeren?", "Hoe lang duurt het voordat de nieuwe pas komt?",
           "De automaat heeft mijn geld ingeslikt."),
    "pt": ("Por que a minha transferência ainda não chegou?", "Ontem perdi o meu cartão no comboio.",
           "Por favor, bloqueiem a conta imediatamente.", "Quanto tempo demora a chegar o cartão novo?",
           "A caixa ficou com o meu dinheiro."),
    "pl": ("Dlaczego mój przelew jeszcze nie dotarł?", "Wczoraj zgubiłem kartę w tramwaju.",
           "Proszę natychmiast zablokować konto.", "Jak długo trzeba czekać na nową kartę?",
           "Bankomat zatrzymał moje pieniądze."),
    "tr": ("Havalem neden hâlâ ulaşmadı?", "Dün otobüste kartımı kaybettim.", "Lütfen hesabı hemen kapatın.",
           "Yeni kartın gelmesi ne kadar sürer?", "Makine paramı geri vermedi."),
    "sv": ("Varför har min överföring inte kommit fram än?", "Jag tappade mitt kort på bussen igår.",
           "Var snäll och spärra kontot genast.", "Hur lång tid tar det innan det nya kortet kommer?",
           "Automaten behöll mina pengar."),
    "ru": ("Почему мой перевод до сих пор не пришёл?", "Вчера я потерял карту в автобусе.",
           "Пожалуйста, заблокируйте счёт немедленно.", "Сколько времени идёт новая карта?",
           "Банкомат не отдал мне деньги."),
    "uk": ("Чому мій переказ ще не надійшов?", "Учора я загубила картку в трамваї.",
           "Будь ласка, заблокуйте рахунок негайно.", "Скільки часу йде нова картка?", "Банкомат не віддав гроші."),
    "ja": ("振込がまだ届いていないのはなぜですか。", "昨日、電車でカードをなくしました。",
           "すぐに口座を止めてください。", "新しいカードはいつ届きますか。", "機械がお金を返してくれません。"),
    "zh": ("为什么我的转账还没有到账？", "我昨天在公交车上丢了银行卡。", "请马上冻结我的账户。",
           "新卡要多久才能寄到？", "取款机没有把钱退给我。"),
    "el": ("Γιατί δεν έφτασε ακόμα η μεταφορά μου;", "Χθες έχασα την κάρτα μου στο λεωφορείο.",
           "Παρακαλώ μπλοκάρετε αμέσως τον λογαριασμό.", "Πόσο κάνει να έρθει η νέα κάρτα;",
           "Το μηχάνημα κράτησε τα χρήματά μου."),
}  # fmt: skip

BOILERPLATE = (
    "This message was created automatically, do not answer it.",
    "You receive this because you are subscribed to our list.",
    "Ticket {} was closed after seven days of silence.",
    "All rights reserved, terms of use apply.",
    "Click here to view this mail in your browser.",
    "The contents of this message are confidential and meant for the addressee alone.",
    "Powered by the help desk, version {}.",
    "To stop these notices change your preferences.",
)
